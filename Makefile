# make quickstart   set up, run a small suite and report
# make test         everything that is checked on every change
# make test-long    many trials, large trees
# make bench        the benchmarks of docs/benchmarks.md (BENCH=tree runs one of them, ARGS=--quick a few trials only)
# make setup        only make .venv (PYTHON=... chooses the interpreter)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: quickstart test test-long bench setup clean help

BIN := .venv/bin
STAMP := .venv/.complete
COMPILED := .venv/.compiled
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
	$(PYTEST) -q -m long -o faulthandler_timeout=1800

BENCH ?= loopback tree recovery startup simulator
bench: setup
	for name in $(BENCH); do $(BIN)/python -m benchmarks.$$name $(ARGS); done

setup: $(STAMP) $(COMPILED)

# The hot modules, compiled in place; they run as plain Python too where there is no C compiler.
$(COMPILED): $(STAMP) tools/compile_hot.py $(wildcard harness/core/*.py harness/sim/*.py harness/testbeds/loop.py plugins/harness_plugins/transports/*.py) workloads/harness_workloads/round_trip_apps.py
	@echo 'compiling the hot modules; this takes a minute'
	mkdir -p build
	$(BIN)/python tools/compile_hot.py >build/compile.log || { tail -n 20 build/compile.log >&2; exit 1; }
	touch $@

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
	rm -f harness/core/*.so harness/sim/*.so harness/testbeds/*.so plugins/harness_plugins/transports/*.so workloads/harness_workloads/*.so
	rm -rf build .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
