# Every target sets up what it needs by itself: Python 3.11 to 3.13 and pip are enough.
PYTHON ?= python3
# A process a core; a file's tests stay together, but for those that an idle process takes over at the end.
PYTEST_ARGS ?= -n auto --dist worksteal
BIN := .venv/bin
ALL := torch,slim,jax,images,pandas,plot,parquet,dev,wide,docs
# A complete .venv serves the demo too; without one it gets a light one of its own.
DEMO := $(if $(wildcard .venv/.milepost-stamp),.venv,.venv-demo)

export PYTHONUNBUFFERED = 1

.PHONY: help demo test test-wide check bench docs site setup format

help:
	@echo "make demo    train a small real run, evaluate every checkpoint, show the table"
	@echo "make test    run the tests           make check   lint, types, layers, limits, generated files"
	@echo "make test-wide                       tests with trainers, peers and other back ends, and every fault"
	@echo "make bench   run the benchmarks      make docs    write the generated pages and stubs"
	@echo "make site    make the documentation site, with the API reference, in build/site"

demo:
	@$(PYTHON) scripts/setup_venv.py $(DEMO) $(if $(filter .venv,$(DEMO)),$(ALL),demo)
	@$(DEMO)/bin/milepost demo

setup:
	@$(PYTHON) scripts/setup_venv.py .venv $(ALL)

test: setup
	$(BIN)/python -m pytest -m "not wide" $(PYTEST_ARGS)

test-wide: setup
	$(BIN)/python -m pytest -m wide --every-operation $(PYTEST_ARGS)

check: setup
	$(BIN)/python scripts/check.py

bench: setup
	$(BIN)/python benchmarks/_table.py

docs: setup
	$(BIN)/python scripts/make_stubs.py
	$(BIN)/python scripts/make_cli_reference.py
	$(BIN)/python -m scripts.mistakes

site: setup
	$(BIN)/python scripts/make_site.py

format: setup
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format --quiet
