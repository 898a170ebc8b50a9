# Each target makes what it needs, from nothing: `make demo` is the whole of it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# pytest-xdist processes, and anything more for pytest: make test ARGS='-k limit'
WORKERS ?= 2
ARGS ?=
# Babel's commands, as setup.cfg sets them; a new language: $(CATALOGUES) init_catalog -l de
CATALOGUES = $(BIN)/python -c 'import setuptools; setuptools.setup()' -q

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-engines test-clusters soak check services docs bench test-matrix seeded-bugs mutants messages clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: $(VENV)/.demo ## The example app on http://127.0.0.1:5000
	$(BIN)/python -m example_app

test: $(VENV)/.dev services ## All tests, on every engine and in a real browser; branch coverage must be 100 %
	DEVICE_SESSIONS_TEST=all $(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov $(ARGS)

test-engines: $(VENV)/.dev services ## What holds on each engine, with their other drivers, journals and character sets
	DEVICE_SESSIONS_TEST=all DEVICE_SESSIONS_TEST_ENGINES=variants \
	  $(BIN)/pytest -m contract -n $(WORKERS) --dist loadgroup $(ARGS)

test-clusters: $(VENV)/.clusters ## Databases in clusters, whose nodes die, freeze and come back under load (5 minutes)
	@tools/services.sh clusters
	$(BIN)/pytest tests/clusters $(ARGS)

soak: $(VENV)/.dev services ## 1,000,000 requests of 200 people, every answer checked (20 minutes)
	$(BIN)/python -m tools.soak --requests 1000000 $(ARGS)

check: $(VENV)/.dev ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

services: ## PostgreSQL, MariaDB, Redis on loopback; Chromium, nginx, Varnish, pgbouncer: installed if missing
	@tools/services.sh start

docs: $(VENV)/.dev ## The documentation as HTML in docs/_build
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: ## What a request costs, here and elsewhere (5 minutes); another mode: ARGS=scale
	@$(PYTHON) -m benchmarks $(ARGS)

test-matrix: $(VENV)/.dev services ## The tests on each other Python found, and on the lowest versions supported
	WORKERS=$(WORKERS) tools/matrix.sh $(BIN)/python $(ARGS)

seeded-bugs: $(VENV)/.dev ## Put bugs in on purpose, one at a time: the tests must find each
	WORKERS=$(WORKERS) $(BIN)/python -m tools.seeded_bugs $(ARGS)

mutants: $(VENV)/.dev ## Change the modules that matter, one place at a time: 90 % must be noticed
	WORKERS=$(WORKERS) $(BIN)/python -m tools.mutants $(ARGS)

messages: $(VENV)/.dev ## Message catalogues: extract, merge into each language, compile
	$(CATALOGUES) extract_messages
	$(if $(wildcard flask_device_sessions/translations/*/),$(CATALOGUES) update_catalog)
	$(if $(wildcard flask_device_sessions/translations/*/),$(CATALOGUES) compile_catalog)

clean: ## Remove what the other targets made here
	rm -rf $(VENV) .venvs build dist docs/_build htmlcov instance *.egg-info .coverage .coverage.*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[babel,geoip,mail]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.clusters: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[dev]' 'patroni[etcd3]>=4.1'
	@touch $(VENV)/.demo $(VENV)/.dev $@
