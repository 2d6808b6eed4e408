# The two commands of the README, over a virtual environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test clean

demo: .venv/demo.stamp
	$(BIN)/python testproject/manage.py demo

test: .venv/test.stamp
	$(BIN)/tox run-parallel --parallel auto

clean:
	rm -rf .venv .tox

$(BIN)/pip:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml testproject/requirements.txt | $(BIN)/pip
	$(PIP) install --editable . --requirement testproject/requirements.txt
	touch $@

.venv/test.stamp: | $(BIN)/pip
	$(PIP) install tox
	touch $@
