# `make help` lists what can be done. Nothing outside this folder is touched, but for the system
# packages that requirements/system.sh names.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
    -c requirements/constraints.txt
DONE := $(VENV)/.setup
BUILD := build/wheels
LISTS := core ros render viewer vmc record dev
TORCH_INDEX ?=

# A step is done when its file in $(DONE) is there and newer than what it was made from: `make setup`
# goes on where it stopped, and does again only what a changed list asks for.
.PHONY: help setup setup-train build test lint demo clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(DONE)/packages build  ## set up .venv with ROS 2, the model and the tests' tools, and build (10 minutes)

$(DONE)/venv: requirements/system.sh
	@echo "[1/4] compiler, Python headers, graphics libraries"
	@sh requirements/system.sh $(PYTHON)
	@echo "[2/4] virtual environment in .venv"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(DONE) && touch $@

# On its own, so that a failure elsewhere does not build it again; pip keeps the wheel it builds and
# takes it for the next environment.
$(DONE)/llama: $(DONE)/venv requirements/core.txt
	@echo "[3/4] llama.cpp, built from source (about 5 minutes the first time)"
	@$(PIP) "$$(sed -n 's/^\(llama-cpp-python[^ ]*\).*/\1/p' requirements/core.txt)"
	@touch $@

$(DONE)/packages: $(DONE)/llama $(LISTS:%=requirements/%.txt) requirements/data.txt requirements/constraints.txt
	@echo "[4/4] Python packages: $(LISTS)"
	@$(PIP) $(LISTS:%=-r requirements/%.txt)
	@$(PIP) --no-deps -r requirements/data.txt
	@touch $@

setup-train: setup $(DONE)/train $(DONE)/browser  ## add what training needs; TORCH_INDEX=URL picks another index for torch

$(DONE)/train: $(DONE)/packages requirements/train.txt requirements/augment.txt requirements/flame.txt
	@echo "[train] torch and the training stack"
	@$(PIP) $(TORCH_INDEX:%=--index-url %) "$$(sed -n 's/^\(torch=[^ ]*\).*/\1/p' requirements/train.txt)"
	@$(PIP) -r requirements/train.txt -r requirements/augment.txt -r requirements/flame.txt
	@touch $@

# A page is tested in the browser that the system has; without one its tests are skipped.
$(DONE)/browser: requirements/browser.sh | $(DONE)/packages
	@sh requirements/browser.sh
	@touch $@

build: $(BUILD)/Makefile  ## build the interfaces, install the package into .venv (again: a second)
	@cmake --build $(BUILD) --parallel > $(BUILD)/build.log 2>&1 || { cat $(BUILD)/build.log; exit 1; }
	@cmake --install $(BUILD) > $(BUILD)/install.log 2>&1 || { cat $(BUILD)/install.log; exit 1; }
	@echo "contextface_ros is installed in $(VENV)"

# The wheels' own prefix is both what we build against and where we install: what lies in it
# imports without sourcing anything.
$(BUILD)/Makefile: | $(DONE)/packages
	@echo "[build] configuring the ROS package (the first build takes about 20 seconds)"
	@mkdir -p $(BUILD)
	@cmake -G "Unix Makefiles" -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(VENV) -DCMAKE_PREFIX_PATH=$(VENV) \
	    -DPython3_EXECUTABLE=$(PY) -DBUILD_TESTING=OFF > $(BUILD)/configure.log 2>&1 \
	    || { cat $(BUILD)/configure.log; exit 1; }

test: setup  ## run the tests against the installed package; ARGS="-k agent" picks some
	@$(VENV)/bin/pytest $(ARGS)

lint: setup  ## ruff and mypy
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy contextface_ros

demo: setup  ## a short scene: frames and utterances in, emotions and pictures of the face out
	@$(VENV)/bin/contextface demo

clean:  ## remove what was built (.venv stays; rm -r .venv removes it too)
	rm -rf build install log dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
