# One command each, the same on a developer's machine and in CI. Every target does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := server operator examples tests
READY := $(VENV)/.ready

CRATES := server/transport tests/bench/load
TRANSPORT := $(VENV)/.transport
TRANSPORT_FILES := $(addprefix server/transport/,Cargo.toml pyproject.toml README.md modelserver_transport.pyi py.typed) \
    $(shell find server/transport/src -name '*.rs')
# What cargo builds stays outside the checkout, in a folder for each crate.
CARGO_TARGETS := $(or $(MODELSERVER_CACHE),$(HOME)/.cache/modelserver)/cargo-target
# As an extension module PyO3 links without libpython, which many machines do not have.
CARGO_CHECK = PYO3_PYTHON=$(abspath $(BIN)/python) PYO3_BUILD_EXTENSION_MODULE=1 CARGO_TARGET_DIR="$(CARGO_TARGETS)/$${crate\#\#*/}"

.PHONY: help setup tutorial demo test test-fast check format cluster-up cluster-down bench bench-serving bench-operator bench-storage images lock proto clean

help:  ## Say what the targets do
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) $(TRANSPORT)  ## Make .venv with everything pinned (2 GB, a minute; with Rust two more, and its output under ~/.cache/modelserver); nothing else on the machine changes

$(READY): requirements/dev.txt server/pyproject.toml operator/pyproject.toml examples/pyproject.toml tests/cluster/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "modelserver needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || tests/install-debian-packages python3-venv
	@echo "Installing the pinned packages into $(VENV): about a minute and 2 GB, most of it TensorFlow"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e server -e operator -e examples -e tests/cluster
	@touch $@

# Where there is no Rust, the file is not made, so setup looks again each time; a wheel of what the sources were goes.
$(TRANSPORT): $(READY) $(TRANSPORT_FILES)
	@if tests/has-rust "gRPC is served by grpcio; install Rust 1.85 or newer for the native transport, several times faster"; then \
	    echo "Building the native transport, server/transport, with cargo: two minutes the first time"; \
	    PATH="$(abspath $(BIN)):$$PATH" CARGO_TARGET_DIR="$(CARGO_TARGETS)/transport" $(BIN)/python -m pip install --quiet \
	        --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall ./server/transport; \
	    touch $@; \
	elif [ -e $@ ]; then \
	    $(BIN)/python -m pip uninstall --quiet --yes --disable-pip-version-check modelserver-transport; \
	    rm $@; \
	fi

tutorial: setup  ## Train two versions of a model, serve the first, drop in the second, print both error rates (a minute)
	$(BIN)/python -m mnist.tutorial

demo: setup  ## Bring up a Kubernetes cluster, install the operator, serve a model and replace it under load
	$(BIN)/python tests/demo.py

test: setup  ## Run every test (a few minutes)
	$(BIN)/pytest tests

test-fast: setup  ## Run the tests that need neither TensorFlow nor processes nor a cluster nor an emulator (under a minute)
	$(BIN)/pytest tests -m "not tensorflow and not process and not slow and not cluster and not emulator"

check: setup  ## Format, lint, types, layers, both of Python and of Rust, and the guard against files that shadow the standard library
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy server/src operator/src examples/mnist examples/plugins tests/cluster/src
	$(BIN)/lint-imports
	$(BIN)/python -m modelserver_operator.api.generate --check
	tests/guard-package-markers
	@if tests/has-rust "the crates ($(CRATES)) are not checked"; then for crate in $(CRATES); do \
	    echo "cargo fmt --check, cargo clippy: $$crate"; \
	    cargo fmt --check --manifest-path $$crate/Cargo.toml; \
	    $(CARGO_CHECK) cargo clippy --quiet --manifest-path $$crate/Cargo.toml --all-targets -- -D warnings; \
	done; fi

format: setup  ## Format the code and mend what the linter can mend by itself
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	@if tests/has-rust "the crates ($(CRATES)) are not formatted"; then for crate in $(CRATES); do \
	    cargo fmt --manifest-path $$crate/Cargo.toml; \
	done; fi

cluster-up: setup  ## Start a Kubernetes cluster on this machine, of Go modules and Debian packages (10 minutes once, then 15 s)
	$(BIN)/python -m testcluster up

cluster-down: setup  ## Stop that cluster; nothing of it is left
	$(BIN)/python -m testcluster down

bench: setup  ## Measure the manager, the scheduler and batching, then bench-serving; prints tables, writes out/bench.json
	$(BIN)/python tests/bench/run.py --json out/bench.json
	$(MAKE) bench-serving

bench-serving: setup  ## Compare with other model servers (40 minutes; installs them); writes out/bench-serving.json, docs/performance.md, docs/plots
	$(BIN)/python tests/bench/bench_serving.py --json out/bench-serving.json --publish

bench-operator: setup  ## Measure the operator with 500 ModelServers (17 minutes); prints tables, writes out/bench-operator.json
	$(BIN)/python tests/bench/bench_operator.py --json out/bench-operator.json

bench-storage: setup  ## Measure fetching from a bucket beside the client library's ways (4 minutes); writes out/bench-storage.json
	$(BIN)/python tests/bench/bench_storage.py --json out/bench-storage.json

images:  ## Build the container images with docker, podman or buildah, and save them in ~/.cache/modelserver/images
	$(PYTHON) tests/images/build_images.py

lock: setup  ## Pin the newest packages that requirements/*.in allow
	for part in build server server-gpu operator examples dev; do \
	    case $$part in dev) without="--no-emit-package tensorflow";; examples) without="--no-emit-package numpy";; *) without=;; esac; \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	        $$without requirements/$$part.in -o requirements/$$part.txt; \
	done
	for peer in tests/bench/peers/requirements/*.in; do \
	    $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	        $$peer -o $${peer%.in}.txt; \
	done

proto: setup  ## Regenerate what is generated from protobuf: the server's descriptors, the tutorial's messages
	$(BIN)/python server/proto/generate_descriptors.py
	$(BIN)/python -m grpc_tools.protoc --proto_path=examples --python_out=examples --pyi_out=examples mnist/mnist.proto

clean:  ## Remove everything that make made
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis $(addsuffix /Cargo.lock,$(CRATES))
