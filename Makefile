# Two commands are all a new user needs: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Planning has C threads of its own, so numerical libraries get one each.
export OMP_NUM_THREADS := 1

.PHONY: run train setup dev test pytest test-all soak lint docs lock clean

run: setup
	@$(BIN)/telos run quickstart

# A world model from nothing, in 2 to 4 minutes on 2 cores.
train: setup
	@$(BIN)/telos train quickstart

setup: $(VENV)/.installed

dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("telos needs Python >= 3.11, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The linters run beside the first tests, which wait for Ray and leave the CPU to others.
test: dev
	@$(MAKE) --no-print-directory -j 2 lint pytest

pytest: dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "slow or not slow"

# Of the slow tests, those of faults, commands and agents: minutes, where all of them take most of an hour.
soak: dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow tests/agent tests/cli tests/faults

# The documentation site, in build/docs/site. Its search needs a server: python -m http.server -d build/docs/site
docs: dev
	@$(BIN)/python docs/site/build.py

# Resolve the ranges of pyproject.toml anew, in clean environments.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0
	build/lock/bin/python -m pip install --quiet "mujoco==3.17.0" "dm-control==1.0.50" "gymnasium[mujoco]==1.4.0" "shimmy==2.0.1" ".[video]"
	build/lock/bin/python -m pip freeze --exclude telos --exclude setuptools --exclude pip | sed 's/+cpu$$//' > requirements.lock
	build/lock/bin/python -m pip install --quiet ".[video,dev]"
	build/lock/bin/python -m pip freeze --exclude telos --exclude setuptools --exclude pip | sed 's/+cpu$$//' > requirements-dev.lock
	rm -rf build

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
