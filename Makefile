# `make demo` and `make test` set up everything they need in .venv and then run.
#
# The package is installed normally, not editable: `pip install -e` puts neither the launch files
# nor the marker of the ament index where ROS looks for them. It is installed again, in seconds,
# whenever a source file has changed.

PYTHON ?= python3
DEMO_ARGS ?=
PYTEST_ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A ROS 2 that is sourced is used as it is; otherwise the wheels bring one into .venv.
comma := ,
EXTRAS := train,test$(if $(ROS_DISTRO),,$(comma)ros)

# Folders too: their time changes when a file is removed.
SOURCES := $(shell find bkd_core bkd_ros config launch resource scripts \
	-name __pycache__ -prune -o -print 2>/dev/null)
PIP_INSTALL := .venv/bin/python -m pip install -qq --no-input --disable-pip-version-check

.PHONY: help demo test setup clean

help:
	@echo 'make demo   set up .venv and run the demonstration (bkd demo)'
	@echo 'make test   set up .venv and run all tests'
	@echo 'make setup  only set up .venv'
	@echo 'make clean  remove .venv and what was built'

demo: setup
	.venv/bin/bkd demo $(DEMO_ARGS)

test: setup
	.venv/bin/python -m pytest test $(PYTEST_ARGS)

setup: .venv/.installed

.venv/.dependencies: setup.py .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 10) and \
	    f"bkd_ros needs Python 3.10 or newer, this is {sys.version.split()[0]}; name another one: make PYTHON=python3.11 ...")'
	@if [ ! -x .venv/bin/python ]; then \
	    echo 'Making the virtual environment .venv'; \
	    $(PYTHON) -m venv .venv; \
	fi
	@echo 'Installing dependencies ($(EXTRAS)) into .venv; the first time this takes some minutes'
	@$(PIP_INSTALL) --constraint .ci/constraints.txt '.[$(EXTRAS)]'
	@# Only its evaluator, which the tests compare ours with: its dependencies would bring an
	@# outdated backport of the standard library's typing.
	@$(PIP_INSTALL) --no-deps cityscapesscripts pyquaternion
	@touch $@

.venv/.installed: .venv/.dependencies $(SOURCES) package.xml setup.cfg pyproject.toml README.md
	@echo 'Installing bkd_ros into .venv'
	@rm -rf build/lib build/bdist.* bkd_ros.egg-info; rmdir build 2>/dev/null || true
	@$(PIP_INSTALL) --no-deps --no-build-isolation --force-reinstall .
	@rm -rf build/lib build/bdist.* bkd_ros.egg-info; rmdir build 2>/dev/null || true
	@touch $@

clean:
	rm -rf .venv build install log bkd_ros.egg-info .pytest_cache .ruff_cache .hypothesis
