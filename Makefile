# Each target is one command; a fresh machine needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ONCE   := Once only: two to five minutes, most of them for torch; pip is quiet while it unpacks.
PIP    := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# Bytecode is compiled once and kept, whatever the shell says: the tests start Python some hundred times.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test quick check docs bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core  ## set up, then the main job end to end on made data, with a report to look at
	$(BIN)/atrous demo demo

test: check  ## set up, then style, import rules, types and all tests
	@echo "All tests, on every core: 10 to 15 minutes on two."
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

quick: check  ## style, import rules, types, and the tests of what changed, within two minutes
	OMP_NUM_THREADS=1 $(BIN)/python tests/quick.py

check: $(VENV)/.dev  ## style, import rules and types only
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

docs: $(VENV)/.docs  ## build the documentation site into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev  ## measure side by side with peers; tables and JSON go to benchmarks/results
	@echo "Installing the packages that the benchmarks stand beside into $(VENV)."
	$(PIP) -e ".[peers]"
	$(BIN)/python -m benchmarks

clean:  ## remove what the other targets made
	rm -rf $(VENV) demo site .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	@echo "Making a virtual environment in $(VENV)."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "atrous needs Python 3.11 or newer; this is %s: say make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing atrous and what it needs into $(VENV). $(ONCE)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing atrous, what it needs and the tools of the tests into $(VENV). $(ONCE)"
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.core

$(VENV)/.docs: $(VENV)/.core
	@echo "Installing the tools of the documentation into $(VENV)."
	$(PIP) -e ".[docs]"
	@touch $@
