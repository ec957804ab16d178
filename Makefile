# One command each, the same on a developer's machine and in CI. Every target does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := server operator examples tests
READY := $(VENV)/.ready

.PHONY: help setup tutorial test test-fast check format bench lock proto clean

help:  ## Say what the targets do
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY)  ## Make .venv with everything pinned (2 GB, about a minute); nothing else on the machine changes

$(READY): requirements/dev.txt server/pyproject.toml operator/pyproject.toml examples/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "modelserver needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || tests/install-debian-packages python3-venv
	@echo "Installing the pinned packages into $(VENV): about a minute and 2 GB, most of it TensorFlow"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e server -e operator -e examples
	@touch $@

tutorial: setup  ## Train two versions of a model, serve the first, drop in the second, print both error rates (a minute)
	$(BIN)/python -m mnist.tutorial

test: setup  ## Run every test (a few minutes)
	$(BIN)/pytest tests

test-fast: setup  ## Run the tests that need neither TensorFlow nor processes (under a minute)
	$(BIN)/pytest tests -m "not tensorflow and not process and not slow"

check: setup  ## Format, lint, types, layers, and the guard against files that shadow the standard library
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy server/src operator/src examples/mnist examples/plugins
	$(BIN)/lint-imports
	tests/guard-package-markers

format: setup  ## Format the code and mend what the linter can mend by itself
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: setup  ## Measure the manager, the scheduler and batching; prints tables, writes out/bench.json
	$(BIN)/python tests/bench/run.py --json out/bench.json

lock: setup  ## Pin the newest packages that requirements/*.in allow
	for part in server operator dev; do \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	        --no-emit-package tensorflow requirements/$$part.in -o requirements/$$part.txt; \
	done

proto: setup  ## Regenerate what is generated from protobuf: the server's descriptors, the tutorial's messages
	$(BIN)/python server/proto/generate_descriptors.py
	$(BIN)/python -m grpc_tools.protoc --proto_path=examples --python_out=examples --pyi_out=examples mnist/mnist.proto

clean:  ## Remove everything that make made
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
