# make all: set up, then run the main job on the embedded default.   make test: set up, then check.
PYTHON ?= python3
VENV := .venv
# Processes that run tests side by side: one more than two cores, since many tests wait.
JOBS ?= 3
BIN := $(CURDIR)/$(VENV)/bin
# The jobs call `python`.
export PATH := $(BIN):$(PATH)
# Where it is set, every start of Python compiles torch, Snakemake and all they import anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all test setup lint resume clean-environment

all: setup
	$(BIN)/snakemake all

test: setup lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

setup: $(VENV)/.ready

# uv resolves and unpacks several gigabytes in half a minute; plain pip works too, in minutes.
$(VENV)/.ready: envs/requirements.txt envs/requirements-dev.txt envs/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c envs/constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r envs/requirements.txt -r envs/requirements-dev.txt -c envs/constraints.txt
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

# After the driver died (login node rebooted, killed): see that none lives, unlock, go on. With the
# Python that is active where the environment is not ours (docs/frontier.md).
resume:
	python -m workflow_scripts.resume

clean-environment:
	rm -rf $(VENV)
