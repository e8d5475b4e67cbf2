# Two commands: `make demo` and `make test`. Both build .venv and fetch the backbone first.
PYTHON ?= python3
VENV := .venv
FUZZ_VENV := .venv-fuzz
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

INTEROP := .venv-interop
INTEROP_INSTALLED := $(INTEROP)/.installed

.PHONY: demo test lint format bench interop fuzz backbone install clean

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

bench: $(INSTALLED)  ## the three forms of propagation, timed side by side
	$(BIN)/python experiments/propagation_benchmark.py

interop: $(INTEROP_INSTALLED)  ## label files read by five other tools, in an environment of their own
	$(INTEROP)/bin/python -m experiments.interop
	$(INTEROP)/bin/python -m pytest tests/test_interop.py

fuzz: $(FUZZ_VENV)/.installed  ## hostile files for every reader, by hypothesis and atheris
	$(FUZZ_VENV)/bin/python -m experiments.fuzz

backbone: $(INSTALLED)  ## the pretrained ViT that demo, tests and coco_mini use
	$(BIN)/python -m exits_jax.models.backbones

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'exits_jax needs Python 3.11 or newer; this is ' + sys.version.split()[0] + '. Name another with: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -e .
	touch $@

$(INTEROP_INSTALLED): requirements-interop.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --disable-pip-version-check -r requirements-interop.txt
	touch $@

$(FUZZ_VENV)/.installed: requirements.txt requirements-fuzz.txt
	$(PYTHON) -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/python -m pip install --disable-pip-version-check -r requirements-fuzz.txt
	touch $@

clean:
	rm -rf $(VENV) $(INTEROP) $(FUZZ_VENV) runs .pytest_cache .ruff_cache
