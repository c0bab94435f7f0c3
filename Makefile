# visagent: `make demo` to see it work, `make test` to check it. Everything stays in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Where only the CUDA build of torch is on offer (3 GB more), a machine without a GPU is better served by
# PyTorch's index of CPU builds: set PIP_EXTRA_INDEX_URL to it.
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo chat test lint quick constraints clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready-dev  ## Install everything, for running and for developing

demo: $(VENV)/ready  ## Ask a question about the bundled photo
	@$(BIN)/python -m visagent demo

chat: $(VENV)/ready-ui  ## Ask in a browser
	@$(BIN)/python -m visagent chat

test: lint  ## Check style and types, then run all tests
	$(BIN)/python -m pytest

quick: $(VENV)/ready-dev  ## Run the tests that take under two seconds each
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/ready-dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

constraints: $(VENV)/ready-dev  ## Write the versions in .venv to constraints.txt
	@{ sed -n 1p constraints.txt; $(PIP) freeze --exclude visagent --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean:  ## Remove .venv and every cache
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; name another with make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "visagent needs Python 3.11 or newer, and this is " + sys.version.split()[0] + "; name another with make PYTHON=python3.11")'
	@echo "Setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and alone, so that nothing else asks for another build of it.
$(VENV)/ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing visagent and what it needs into $(VENV)"
	@$(PIP) install --upgrade pip
	@$(PIP) install -c constraints.txt "$(TORCH)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/ready-ui: $(VENV)/ready
	@echo "Installing what the page in the browser needs into $(VENV)"
	@$(PIP) install -c constraints.txt -e ".[ui]"
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@echo "Installing what its tests need into $(VENV)"
	@$(PIP) install -c constraints.txt -e ".[adapters,analysis,dev,onnx,postgresql,quantised,train,ui]"
	@touch $@
