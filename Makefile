# Two commands: `make demo` and `make test`. Both build .venv and fetch the backbone first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-versions lint format docs bench interop fuzz backbone install clean

demo: backbone  ## warm up, train, label, evaluate and report on the photographs in demo/
	$(BIN)/python main.py --config=configs/demo.py --workdir=runs/demo

test: backbone lint  ## everything that must hold before a change lands
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-versions: backbone  ## the suite on other Pythons that lie on this machine, with the newest versions in range
	@for version in 3.12 3.13 3.14; do \
	  python=$$(command -v python$$version) || { echo "python$$version: not here"; continue; }; \
	  $$python -m venv .venv-$$version && \
	  .venv-$$version/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' && \
	  .venv-$$version/bin/python -m pytest -n 2 --dist worksteal || exit 1; \
	done

docs: $(INSTALLED)  ## the API reference, from the docstrings, in build/docs/index.html
	PYTHONPATH=. $(BIN)/python docs/reference.py build/docs

bench: backbone .venv-bench/.installed  ## forms of propagation timed; then JAX beside PyTorch: two hours (BENCH=--quick: minutes)
	$(BIN)/python -m experiments.propagation_benchmark
	$(BIN)/python -m experiments.framework_comparison.parity
	$(BIN)/python -m experiments.framework_comparison.bench $(BENCH)
	$(BIN)/python -m experiments.framework_comparison.stage2_speed $(BENCH)

interop: .venv-interop/.installed  ## label files and data sets read by seven other tools, in an environment of their own
	.venv-interop/bin/python -m experiments.interop
	.venv-interop/bin/python -m pytest experiments/tests/test_interop.py

fuzz: .venv-fuzz/.installed  ## hostile files for every reader, by hypothesis and atheris
	.venv-fuzz/bin/python -m experiments.fuzz

backbone: $(INSTALLED)  ## the pretrained ViT that demo, tests and coco_mini use
	$(BIN)/python -m exits_jax.models.backbones

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'exits_jax needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name another with: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -e .
	touch $@

# Environments of their own for what would get into the way of the rest: interop, fuzz, bench.
.venv-%/.installed: requirements-%.txt requirements.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check $(PIP_OPTIONS) -r $<
	touch $@

# Its list is complete, and two of the tools disagree on a version that neither needs.
.venv-interop/.installed: override PIP_OPTIONS += --no-deps

clean:
	rm -rf $(VENV) .venv-* build runs .pytest_cache .ruff_cache
