# Two commands do everything: `make demo` and `make test`. Each creates .venv by itself.
# A user elsewhere may choose another interpreter or package index:
#   make test PYTHON=python3.12 PIP_ARGS="--index-url https://..."
PYTHON ?= python3
PIP_ARGS ?=
BENCH_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc python -type f \( -name '*.py' -o -name '*.pyi' -o -name '*.h' -o -name '*.cpp' \)) \
           CMakeLists.txt pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-exhaustive bench lint format install clean help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(VENV)/installed  ## verify the bundled example dump: first its golden codes, then a faulty measurement
	@MAKE="$(MAKE)" BITTWIN="$(BIN)/bittwin" sh examples/demo.sh

test: $(VENV)/dev  ## all tests (well under ten minutes)
	$(BIN)/python -m pytest

test-exhaustive: $(VENV)/dev  ## the long sweeps: every accumulator, every product
	$(BIN)/python -m pytest -m exhaustive

bench: $(VENV)/bench  ## benchmarks beside torch, oneDNN and onnxruntime, and the table of targets
	$(BIN)/python benchmarks/targets.py $(BENCH_ARGS)

lint: $(VENV)/lint  ## ruff, mypy --strict, stubtest, clang-format, compiler warnings as errors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest bittwin._core --allowlist tests/stubtest_allowlist.txt
	find csrc tests -name '*.h' -o -name '*.cpp' | xargs $(BIN)/clang-format --dry-run -Werror
	for f in csrc/include/bittwin/*.h; do \
	  printf '#include "%s"\n' $$f | $(CXX) -std=c++17 -Wall -Wextra -Wconversion -Werror -fsyntax-only \
	    -Icsrc/include -I. -x c++ - || exit 1; done
	for f in csrc/kernels/*.cpp; do \
	  $(CXX) -std=c++17 -Wall -Wextra -Wconversion -Werror -fsyntax-only -Icsrc -Icsrc/include $$f || exit 1; done

format: $(VENV)/lint  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	find csrc tests -name '*.h' -o -name '*.cpp' | xargs $(BIN)/clang-format -i

install: $(VENV)/installed  ## make .venv with bittwin in it

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps record what was installed, so that a second `make` starts at once.
$(VENV)/installed: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt .
	@touch $@

$(VENV)/dev: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/bench: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt '.[bench]'
	@touch $@ $(VENV)/installed

$(VENV)/lint: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install -q $(PIP_ARGS) -c constraints.txt '.[dev,lint]'
	@touch $@ $(VENV)/dev $(VENV)/installed

clean:  ## remove .venv and build leftovers
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
