# `make train` and `make test` are all the set-up a fresh machine needs: both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A file's tests share what they train; tests/conftest.py says which files are begun first.
FILES_IN_TURN := --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest -n 2 $(FILES_IN_TURN)

# Python compiles what is imported when it is: a tenth of what torch brings, and all of it takes a minute and a half.
PIP_INSTALL := -m pip install --quiet --no-compile
OLDEST := .venv-oldest

.PHONY: help install train test test-all test-slow test-oldest check format clean

help:
	@echo "make train        train the default model on rendered animals, evaluate it, leave pictures in outputs/"
	@echo "make test         linters, types, layers, and the quick tests: every feature once"
	@echo "make test-all     the same with all tests"
	@echo "make test-oldest  the quick tests with the oldest versions of the main dependencies that pyproject.toml allows"
	@echo "make check        linters, types and layers only"
	@echo "make format       format the code"
	@echo "make clean        remove the virtual environment and caches"

# Reinstalled whenever pyproject.toml changed.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --upgrade pip
	$(BIN)/python $(PIP_INSTALL) -e ".[dev,mlflow,sweep,tables,nwb,onnx]"
	touch $@

install: $(INSTALLED)

train: install
	$(BIN)/python train.py

test: check
	$(PYTEST) -m "not slow" $(TESTS)

test-slow: install
	$(PYTEST) -m slow $(TESTS)

test-all: test test-slow

# uv takes the lower bounds of the main dependencies; what the extras need comes beside them, as it is today.
test-oldest:
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python $(PIP_INSTALL) uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST) --resolution lowest-direct -e .
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST) -e ".[mlflow,sweep,tables,nwb,onnx]" pytest pytest-xdist hypothesis filelock build
	$(OLDEST)/bin/python -m pytest -n 2 $(FILES_IN_TURN) -m "not slow" $(TESTS)

# PLW1514, by itself since preview changes other rules: text files are in UTF-8, on Windows too.
check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .ruff_cache .hypothesis .import_linter_cache
