# Two environments: .venv is what runs in the field (never torch), .venv-lab trains and tests.
# Each target sets up what it needs; a second call finds it done.

PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint lab bench clean

help: ## list what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 14

demo: .venv/ready ## replay the demo recording through the whole appliance (ARGS="--help" shows its options)
	.venv/bin/appliance demo $(ARGS)

bench: .venv/ready ## measure speed and memory of the shipped models on this machine
	.venv/bin/appliance bench speed $(ARGS)

# Two files of tests at once, each on a core of its own.
test: export OMP_NUM_THREADS = 1
test: lint ## everything: lint, types, floors, and the whole suite
	.venv-lab/bin/pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: .venv-lab/ready ## ruff, mypy and the import contracts
	.venv-lab/bin/ruff check
	.venv-lab/bin/ruff format --check
	.venv-lab/bin/mypy
	.venv-lab/bin/lint-imports

lab: .venv-lab/ready ## set up the training environment, .venv-lab
	@echo "ready: .venv-lab/bin/appliance lab train --help"

clean: ## remove environments and caches
	rm -rf .venv .venv-lab build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find appliance tests -name __pycache__ -prune -exec rm -rf {} +

# --- environments -------------------------------------------------------------------------------------------------

DEMO_PACKAGES := libportaudio2
LAB_PACKAGES := $(DEMO_PACKAGES) portaudio19-dev gcc libasound2-plugins alsa-utils mosquitto mosquitto-clients systemd shellcheck

# What a Python of the distribution leaves to separate packages; a Python from elsewhere brings both.
VENV_PACKAGE = $(shell $(PYTHON) -c 'import ensurepip' 2>/dev/null || echo python$(PYTHON_VERSION)-venv)
HEADER_PACKAGE = $(shell $(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null || echo python$(PYTHON_VERSION)-dev)
PYTHON_VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

define check_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	echo "$(PYTHON) is missing or older than Python 3.10: install a newer one and name it, e.g. make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
endef

.venv/ready: pyproject.toml
	$(check_python)
	@deploy/debian-packages.sh $(DEMO_PACKAGES) $(VENV_PACKAGE)
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[demo]'
	@touch $@

.venv-lab/ready: pyproject.toml
	$(check_python)
	@deploy/debian-packages.sh $(LAB_PACKAGES) $(VENV_PACKAGE) $(HEADER_PACKAGE)
	$(PYTHON) -m venv .venv-lab
	@echo "installing PyTorch and the tools into .venv-lab; the first time takes minutes"
	.venv-lab/bin/python -m pip install --quiet "$$(sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
	.venv-lab/bin/python -m pip install --quiet --editable '.[lab,dev,demo,pyaudio]'
	@touch $@
