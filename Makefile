# `make demo` and `make test` need nothing but Python 3.11 or newer: they make .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := -m pip -qq --disable-pip-version-check --no-input
BENCHMARKS := $(sort $(filter-out benchmarks/__init__.py,$(wildcard benchmarks/*.py)))

# Each test file stays with one process, as its fixtures are shared; tests/conftest.py says which begin first.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo ui test test-full lint format types bench constraints clean distclean check-python
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## prune the digits model and record the rounds
	$(BIN)/tfprune run digits
	@echo
	@echo "See the rounds side by side:  make ui"

ui: $(INSTALLED) ## open the recorded rounds in the browser
	$(BIN)/tfprune ui

test: lint types ## style, types, doctests and tests; what CI runs
	$(BIN)/python -m pytest $(PARALLEL)

test-full: lint types ## the same with the tests that take minutes
	$(BIN)/python -m pytest $(PARALLEL) -m ""

lint: $(INSTALLED) ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED) ## mypy over the package
	$(BIN)/mypy

bench: $(INSTALLED) ## every benchmark behind the README's figures
	@for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python $$script || exit 1; done

install: $(INSTALLED) ## make .venv with everything in it

# The stamp is written last, so an install that was cut off is done again.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { $(MAKE) --no-print-directory check-python && $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing tfprune and its tools into $(VENV); the first time takes some minutes and 3 GB."
	@$(BIN)/python $(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "tfprune needs Python 3.11 or newer, but '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing); name another: make PYTHON=python3.11" >&2; \
	  exit 1; }

constraints: check-python ## pin anew all that a fresh install brings
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && $(PYTHON) -m venv "$$folder/venv" \
	  && "$$folder/venv/bin/python" $(PIP) install -e '.[dev]' \
	  && { echo "# Made by 'make constraints': all that .[dev] installs, as tested. Use with pip install -c."; \
	       "$$folder/venv/bin/python" -m pip freeze --all --exclude pip --exclude-editable; } > "$$folder/constraints.txt" \
	  && cp "$$folder/constraints.txt" constraints.txt

clean: ## remove what building and testing left behind
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf $(VENV)
