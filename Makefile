# `make run` watches real things; `make test` proves the behaviour. Everything lives in .venv and var/.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml requirements/dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(STAMP) ## make .venv with everything in it

run: $(STAMP) ## start the daemon on config/expiryd.toml
	@mkdir -p var
	@exec $(BIN)/expiryd -c config/expiryd.toml run --immediate

format: $(STAMP) ## lay the code out
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

check: $(STAMP) ## format, lint, types, layers, documentation and contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -p no:cacheprovider tests/contract/test_documents.py tests/contract/test_names.py

test: $(STAMP) ## every test that needs only Python
	$(BIN)/pytest -q -n auto --dist worksteal -m "not real and not postgres"

test-real: $(STAMP) ## install real servers (Debian, root) and run against them
	tests/real/install
	$(BIN)/pytest -q -m "real or postgres" --timeout 300

bench: $(STAMP) ## speed and size as ratios beside a peer, in one run
	benchmarks/run

requirements: ## pin the newest versions again (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -q -o requirements/dev.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -c requirements/dev.txt -o requirements/base.txt

clean: ## remove what was made
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.PHONY: help install run format check test test-real bench requirements clean
