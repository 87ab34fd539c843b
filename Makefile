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

.PHONY: demo test test-exhaustive test-sanitize bench lint format install clean help test-sanitize

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

# An extension of its own beside the installed one. Python itself is not instrumented, so the sanitizers and the C++
# library come in by LD_PRELOAD; Python's own allocations that live until the end are no leaks of ours.
# Left out: a child forked while other threads allocate can hang in GCC 12's ASan allocator, and programs that start
# anew (emulators, golden files per kernel, compiled mutants) would run what is preloaded, or nothing instrumented.
# --capture=sys: a sanitizer ends the process, and what it writes before that must not end up in pytest's hands.
SANITIZED := build/sanitize
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
test-sanitize: $(VENV)/dev  ## the suite on an extension built with AddressSanitizer and UBSan
	$(PIP) install -q $(PIP_ARGS) --no-deps --upgrade --target $(SANITIZED) \
	  --config-settings=build-dir=$(SANITIZED)-objects '--config-settings=cmake.define.CMAKE_CXX_FLAGS=$(SANITIZE)' .
	PYTHONPATH=$(SANITIZED) ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  LD_PRELOAD="$(foreach l,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(l).so))" \
	  $(BIN)/python -m pytest tests --capture=sys -p no:cacheprovider --ignore=tests/mutants --ignore=tests/kernels \
	  --ignore=tests/golden/test_every_kernel.py \
	  --deselect tests/unit/test_threads.py::test_children_forked_in_the_middle_of_small_jobs_do_not_hang

lint: $(VENV)/lint  ## ruff, mypy --strict, stubtest, clang-format, compiler warnings as errors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest bittwin._core --allowlist tests/stubtest_allowlist.txt
	find csrc tests benchmarks -name '*.h' -o -name '*.cpp' | xargs $(BIN)/clang-format --dry-run -Werror
	for f in csrc/include/bittwin/*.h; do \
	  printf '#include "%s"\n' $$f | $(CXX) -std=c++17 -Wall -Wextra -Wconversion -Werror -fsyntax-only \
	    -Icsrc/include -I. -x c++ - || exit 1; done
	for f in csrc/kernels/*.cpp; do \
	  $(CXX) -std=c++17 -Wall -Wextra -Wconversion -Werror -fsyntax-only -Icsrc -Icsrc/include $$f || exit 1; done

format: $(VENV)/lint  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	find csrc tests benchmarks -name '*.h' -o -name '*.cpp' | xargs $(BIN)/clang-format -i

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
