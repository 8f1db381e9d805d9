# Everything a person or a machine runs here. `make` alone lists it.
# Nothing is installed outside .venv; the first command sets it up, later ones start at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := list
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
PYTEST_WORKERS ?= 2
PIP := $(PY) -m pip --disable-pip-version-check --no-input --quiet
export PYTHONPATH := src
export PYTHONDONTWRITEBYTECODE ?=

.PHONY: list setup compile demo test check format prove sim bench docs lock accept clean

list: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | while IFS=$$'\t' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

setup: $(READY) ## make .venv with exactly what requirements.lock says

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Andon needs Python 3.11 or newer, and '$(PYTHON)' is not there. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Andon needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { echo "Python cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "setup: installing the locked dependencies into $(VENV) (once, a minute or two)"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PY) tools/compile.py
	@touch $(READY)

compile: setup ## the hot path as machine code, again after edits; ANDON_PURE=1 does without
	@$(PY) tools/compile.py

demo: setup ## a whole factory on this machine tells its story; EXIT=1 ends by itself
	@$(VENV)/bin/andon demo $(if $(EXIT),--exit) $(if $(JSON),--json)

test: check ## everything that CI runs
	@$(PY) -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile --durations=5

check: setup ## house rules, lint, types, who may know whom
	@bad=0; \
	$(PY) tools/tidy.py || bad=1; \
	$(VENV)/bin/ruff check --quiet --output-format concise . || bad=1; \
	$(VENV)/bin/ruff format --check --quiet --output-format concise . || { echo "format: run make format"; bad=1; }; \
	$(VENV)/bin/mypy --no-error-summary || bad=1; \
	said=$$($(VENV)/bin/lint-imports --no-logo 2>&1) || { echo "$$said" | sed -n '/^Broken contracts/,$$p'; bad=1; }; \
	test $$bad = 0 && echo "check: clean"

format: setup ## put every file in the one format
	@$(VENV)/bin/ruff check --quiet --fix . || true
	@$(VENV)/bin/ruff format --quiet .

prove: compile ## one proof: NAME=gateway|ledger|slo|drift|… [QUICK=1] [PEERS=1] [SECURED=1]
	@test -n "$(NAME)" || { echo "Say which: make prove NAME=$$(ls benchmarks/*.py 2>/dev/null | xargs -n1 basename -s .py | grep -v __ | paste -sd '|') [QUICK=1] [PEERS=1]"; exit 2; }
	@QUICK=$(QUICK) PEERS=$(PEERS) SECURED=$(SECURED) $(PY) -m benchmarks.$(subst -,_,$(NAME))

sim: setup ## the real app under a seeded scheduler: [SEED=n] [STEPS=n]
	@$(PY) -m andon.testing.simulate $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS))

bench: compile ## every proof, in full; [QUICK=1] [PEERS=1]
	@for name in gateway stream rollback crash start predict ledger ledger-crash percentiles slo drift cbpe dashboards audit authz limits merkle guards canary-secret tls; do echo "== $$name"; QUICK=$(QUICK) PEERS=$(PEERS) $(PY) -m benchmarks.$${name//-/_}; done

docs: setup ## regenerate docs/reference from the code
	@$(PY) tools/reference.py

lock: ## requirements.lock from pyproject.toml; needs uv
	@$(if $(wildcard $(PY)),$(PY),$(PYTHON)) tools/lock.py

accept: test ## what a release must pass: tests, the story, every proof in short
	@$(VENV)/bin/andon demo --exit --json
	@$(MAKE) bench QUICK=1

clean: ## remove what can be made again, the virtual environment included
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
