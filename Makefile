# make quickstart   set up, run a small suite and report
# make test         everything that is checked on every change
# make test-long    many trials, large trees
# make bench        the benchmarks of docs/benchmarks.md
# make setup        only make .venv (PYTHON=... chooses the interpreter)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: quickstart test test-long bench setup clean help

BIN := .venv/bin
STAMP := .venv/.complete
PYTEST := $(BIN)/python -m pytest

help:
	@sed -n 's/^# //p' Makefile

quickstart: setup
	@$(BIN)/harness run suites/quickstart.toml

test: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -q -m "not long"

test-long: setup
	$(PYTEST) -q -m long

bench: setup
	$(BIN)/python -m benchmarks

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@python='$(PYTHON)'
	if [ -z "$$python" ]; then
	  for candidate in python3.11 python3.12 python3.13 python3; do
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi
	  done
	fi
	if [ -z "$$python" ]; then
	  echo 'error: no Python 3.11 or newer was found; install one, or say make setup PYTHON=/path/to/python' >&2; exit 2
	fi
	echo "setting up .venv with $$("$$python" --version); the first time takes a few minutes"
	if [ -x $(BIN)/python ] && ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then rm -rf .venv; fi
	if ! [ -x $(BIN)/python ]; then
	  "$$python" -m venv .venv || { echo 'error: no virtual environment can be made; on Debian: apt-get install python3-venv' >&2; exit 2; }
	fi
	export PIP_CONSTRAINT='$(CURDIR)/constraints.txt' PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
