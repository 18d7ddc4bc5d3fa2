# `make train` and `make test` are all the set-up a fresh machine needs: both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help install train test test-all test-slow check format clean

help:
	@echo "make train     train the default model on rendered animals, evaluate it, leave pictures in outputs/"
	@echo "make test      linters, types, layers, and the quick tests: every feature once"
	@echo "make test-all  the same with all tests"
	@echo "make check     linters, types and layers only"
	@echo "make format    format the code"
	@echo "make clean     remove the virtual environment and caches"

# Reinstalled whenever pyproject.toml changed.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev,mlflow,sweep,tables,nwb,onnx]"
	touch $@

install: $(INSTALLED)

train: install
	$(BIN)/python train.py

test: check
	$(PYTEST) -m "not slow" $(TESTS)

test-slow: install
	$(PYTEST) -m slow $(TESTS)

test-all: test test-slow

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache
