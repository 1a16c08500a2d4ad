# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types unit test-slow speed clean

demo: $(STAMP)
	$(BIN)/forecast demo

test: lint types unit

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

speed:
	@echo "Benchmarks are run by hand; each says at its top how, and what it compares:"
	@ls tests/speed/*.py | sed 's|^|    OMP_NUM_THREADS=1 $(BIN)/python |'

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
