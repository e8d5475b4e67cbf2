# Two commands: `make demo` and `make test`. Both build .venv and fetch the backbone first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VENV_BENCH := .venv-bench
INSTALLED_BENCH := $(VENV_BENCH)/.installed

.PHONY: demo test lint format bench backbone install clean

demo: backbone  ## warm up, train, label, evaluate and report on the photographs in demo/
	$(BIN)/python main.py --config=configs/demo.py --workdir=runs/demo

test: backbone lint  ## everything that must hold before a change lands
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: backbone $(INSTALLED_BENCH)  ## forms of propagation timed; then JAX beside PyTorch: hours (BENCH=--quick: minutes)
	$(BIN)/python experiments/propagation_benchmark.py
	$(BIN)/python -m experiments.framework_comparison.parity
	$(BIN)/python -m experiments.framework_comparison.bench $(BENCH)

backbone: $(INSTALLED)  ## the pretrained ViT that demo, tests and coco_mini use
	$(BIN)/python -m exits_jax.models.backbones

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'exits_jax needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name another with: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -e .
	touch $@

$(INSTALLED_BENCH): requirements-bench.txt
	$(PYTHON) -m venv $(VENV_BENCH)
	$(VENV_BENCH)/bin/python -m pip install --disable-pip-version-check $(BENCH_PIP) -r requirements-bench.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV_BENCH) runs .pytest_cache .ruff_cache
