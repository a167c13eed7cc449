# Two commands do all the set-up on a machine with python3 and make: `make demo` and `make test`.
# Each makes its own virtual environment under .venv and installs the package into it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most of a test is tracing and compiling on one core, so there are two processes. TensorFlow never
# frees what it compiled: the augmentations, which are the most of it, are tested apart. A file is
# tested in one process, so that its tests share what they set up.
SIDE_BY_SIDE ?= --numprocesses 2 --dist loadfile

.PHONY: demo test test-slow test-all lint format clean

demo: $(VENV)/installed
	$(BIN)/recipes demo --out $(or $(OUT),runs/demo)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE) tests/augment
	$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE) --ignore tests/augment

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "slow and not exhaustive" $(SIDE_BY_SIDE) tests/augment
	$(BIN)/python -m pytest -m "slow and not exhaustive" $(SIDE_BY_SIDE) --ignore tests/augment

test-all: test test-slow
	$(BIN)/python -m pytest -m exhaustive $(SIDE_BY_SIDE) tests/augment
	$(BIN)/python -m pytest -m exhaustive $(SIDE_BY_SIDE) --ignore tests/augment

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --config setup.cfg

format: $(VENV)/installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

# Editable, so that a change to a source file is what runs next.
$(VENV)/installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,tfds,tuning,compress]'
	touch $@ $(VENV)/installed

$(VENV)/installed-lint: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'ruff>=0.17,<0.18' 'import-linter>=2.16,<3' --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
