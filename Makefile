# "make help" lists the targets. Works with GNU make 3.81 (macOS) and newer.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := uv==0.13.9
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python

# Without .pyc files every start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

# A stamp is written when everything before it went well, so an interrupted
# install starts afresh. It holds the folder it was made in: an environment
# does not survive being moved.
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
MADE_IN := $(shell test -x $(BIN)/python && cat $(RUNTIME) 2>/dev/null)
ifneq "$(MADE_IN)" "$(CURDIR)"
$(RUNTIME): afresh
endif

NOTEBOOK := notebooks/00-start-here.ipynb
LAB_ARGS := --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/$(NOTEBOOK)
ifeq ($(shell id -u),0)
LAB_ARGS += --allow-root
endif
# With no display to open a window on, print the address only.
ifeq ($(shell uname)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)
LAB_ARGS += --no-browser
endif

.DEFAULT_GOAL := help
.PHONY: help lab test validate trials execute labs bench lint format lock binder-link clean afresh

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

lab: $(RUNTIME)  ## Open the course in JupyterLab; ARGS="--no-browser --port 8899" is passed on
	$(BIN)/python -m jupyterlab $(LAB_ARGS) $(ARGS)

test: $(DEV) lint  ## Lint, run the tests, validate every notebook
	$(BIN)/python -m pytest tests
	$(BIN)/python -m pytest --nbval

validate: $(RUNTIME)  ## Validate every notebook with strict nbval (or one: NB=...)
	$(BIN)/python -m pytest --nbval $(NB)

trials: $(DEV)  ## See each claim fail without its cause (or one lesson's: NB=05)
	$(BIN)/python -m tools.trials $(NB)

execute: $(DEV)  ## Run a notebook, normalise and save it: NB=notebooks/01-....ipynb
	@test -n "$(NB)" || { echo 'Name a notebook: make execute NB=notebooks/01-....ipynb'; exit 2; }
	$(BIN)/python -m tools.notebooks execute $(NB)

labs: $(DEV)  ## Make the learner's copies from labs/solutions (CHECK=1: only compare)
	$(BIN)/python -m tools.labs $(if $(CHECK),--check)

bench: $(DEV)  ## Measure the helpers, one table
	$(BIN)/python -m tools.bench

lint: $(DEV)  ## Check the code, the notebooks and the learner's copies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m tools.notebooks lint
	$(BIN)/python -m tools.labs --check

format: $(DEV)  ## Format code and notebooks
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) pyproject.toml
lock: $(RUNTIME)  ## Write the locks from pyproject.toml (UPGRADE=1: newest versions)
	$(COMPILE) -o requirements.lock
	$(COMPILE) -o requirements-dev.lock --extra dev -c requirements.lock

binder-link:  ## Print the Binder address of this clone's origin
	@$(PYTHON) tools/binder_link.py

clean:  ## Remove the environment and all caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +

$(RUNTIME): requirements.lock
	@command -v $(PYTHON) >/dev/null || \
		{ echo 'There is no $(PYTHON) here: install Python 3.11 or newer.'; exit 1; }
	@$(PYTHON) tools/check_python.py
	rm -f $(RUNTIME) $(DEV)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q $(UV)
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	mkdir -p $(VENV)/share/jupyter/lab/settings
	cp binder/overrides.json $(VENV)/share/jupyter/lab/settings/
	@pwd -P > $@

$(DEV): $(RUNTIME) requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
