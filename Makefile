# `make help` lists what can be done.
VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
BUILD := build/wheels

.PHONY: build

build: $(BUILD)/Makefile  ## build the interfaces and install the package into .venv (repeats in a second)
	@cmake --build $(BUILD) --parallel > $(BUILD)/build.log 2>&1 || { cat $(BUILD)/build.log; exit 1; }
	@cmake --install $(BUILD) > $(BUILD)/install.log 2>&1 || { cat $(BUILD)/install.log; exit 1; }
	@echo "contextface_ros is installed in $(VENV)"

# The wheels' own prefix is both what we build against and where we install: what lies in it
# imports without sourcing anything.
$(BUILD)/Makefile:
	cmake -G "Unix Makefiles" -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(VENV) -DCMAKE_PREFIX_PATH=$(VENV) \
	    -DPython3_EXECUTABLE=$(PY) -DBUILD_TESTING=OFF
