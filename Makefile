# make setup   the environment .venv: Python packages, a ROS 2 from wheels, message packages
# make demo    compress a small detector on rendered flights and fly it; results under out/demo/
# make test    lint, types, the Python 3.6 check and all tests, in 3 processes side by side; JOBS=4 for more, 0 for none
# make test-onboard ROS=kilted NUMPY=1.26.4 OPENCV=4.10.0.84   the onboard and node tests against other versions,
#              each with an environment of its own: ROS jazzy or kilted; empty versions are those of the lock file
# make bench   every benchmark in its quick form
# make shell   a subshell with the environment and its ROS, DDS domain 101 unless ROS_DOMAIN_ID says another
# make docs    the site of these pages and the API, out/site/index.html; warnings and broken links are errors
# Needs: Linux, Python 3.11, a C and C++ compiler, make. PYTHON=... chooses another interpreter.

PYTHON ?= $(shell command -v python3.11 || echo python3)
TORCH := torch==2.13.0
# Other versions than those of requirements/lock.txt, in an environment of their own.
ROS ?= jazzy
NUMPY ?=
OPENCV ?=
# Processes that test side by side, one of them what computes (test/helpers/scheduling.py). The tests of a file stay
# together, in their order.
JOBS ?= 3
PYTEST = pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
VENV := .venv$(patsubst %,-%,$(filter-out jazzy,$(ROS)))$(NUMPY:%=-np%)$(OPENCV:%=-cv%)
BIN := $(VENV)/bin
# Runs a command with ROS confined to this machine; see tools/ros_environment.py.
RUN := $(BIN)/python -m tools.ros_environment
# Without byte code, which pip makes on one core: $(VENV)/.packages makes it on all.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-compile

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup shell demo test test-onboard lint lint-style lint-types lint-walls lint-python36 bench docs clean

# A ROS sourced in the calling shell, or another environment of wheels, must not leak into this one.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Hundreds of processes of the tests would each compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

help:
	@sed -n '/^# Needs/q; s/^# //p' Makefile

setup: $(VENV)/.messages
	@echo "setup: $(VENV) is ready"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	    || { echo "error: $(PYTHON) is not Python 3.11, which the ROS wheels are for: make PYTHON=<path>"; exit 1; }
	@echo "setup: virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "$(CURDIR)" > $(VENV)/lib/python3.11/site-packages/checkout.pth  # bench/*.py import what lies beside bench/
	@touch $@

$(VENV)/.torch: $(VENV)/.python
	@echo "setup: $(TORCH)"
	@$(PIP) $(TORCH)
	@touch $@

# The lock file, with what was asked for instead: of several lines about one package the first counts.
$(VENV)/lock.txt: requirements/lock.txt $(wildcard requirements/$(ROS).txt) $(VENV)/.torch
	@{ $(NUMPY:%=echo numpy==%;) $(OPENCV:%=echo opencv-python-headless==%;) \
	   $(if $(filter jazzy,$(ROS)),cat,cat requirements/$(ROS).txt; grep -v ^ros-) requirements/lock.txt; } \
	    | awk -F == '/==/ && !seen[$$1]++' > $@

$(VENV)/.packages: $(VENV)/lock.txt
	@echo "setup: $$(grep -c == $<) packages of requirements/lock.txt"
	@$(PIP) --no-deps -r $<
	@$(BIN)/python -m compileall -qq -j 0 -x /tests/ $(VENV)/lib || true  # some files are for other versions of Python
	@touch $@

$(VENV)/.messages: $(VENV)/.packages $(wildcard tools/ros_messages/*.py tools/ros_messages/*/*/*.msg)
	@echo "setup: ROS messages that no wheel has"
	@dirname tools/ros_messages/*/msg | tac | xargs -P 2 -n 1 $(BIN)/python -m tools.ros_messages  # the largest first
	@touch $@

# Outside of 1 to 100, of which a run by itself takes a free one; shells that are opened so find each other.
shell: setup
	@ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-101} $(RUN) bash --rcfile <(echo '[ -r ~/.bashrc ] && . ~/.bashrc; \
	    PATH="$(CURDIR)/$(BIN):$$PATH"; PS1="(vit_perception) $$PS1"')

demo: setup
	@$(RUN) python -m tools.demo

lint: lint-style lint-types lint-walls lint-python36

lint-style: setup
	@echo "lint: ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "error: run $(BIN)/ruff format ."; exit 1; }

lint-types: setup
	@echo "lint: mypy"
	@$(BIN)/mypy vit_perception offline tools

lint-walls: setup
	@echo "lint: the walls between the rooms"
	@report=$$($(BIN)/lint-imports --no-logo --no-cache 2>&1) || { echo "$$report"; exit 1; }

lint-python36: setup
	@echo "lint: onboard code runs on Python 3.6"
	@$(BIN)/vermin --target=3.6- --eval-annotations --violations --no-tips vit_perception launch setup.py \
	    test/standin test/helpers/old_libraries.py test/helpers/python36_check.py

# The real Python bindings of TensorRT, to hold the tests' stand-in to. Without them some tests skip.
$(VENV)/.tensorrt: requirements/tensorrt.txt $(VENV)/.python
	@echo "setup: TensorRT's Python bindings, $$(grep -c ^tensorrt $<) versions of requirements/tensorrt.txt"
	@for requirement in $$(grep ^tensorrt $<); do \
	    folder=$(VENV)/tensorrt/$${requirement#*==}; rm -rf $$folder; \
	    $(PIP) --no-deps --target $$folder $$requirement \
	        || { echo "setup: $$requirement cannot be installed here; its tests will skip"; exit 0; }; \
	done; touch $@

test: setup
	@$(MAKE) --no-print-directory --output-sync -j 2 lint $(VENV)/.tensorrt
	@$(RUN) $(PYTEST)

# Without what only trains and compresses; test_camera_motion.py renders its images.
# Nearly all of them measure time: two, of equal priority.
test-onboard: JOBS := 2
test-onboard: setup
	@$(RUN) $(PYTEST) $$(grep -rLE --include='test_*.py' '^ *(from|import) (offline|torch)' test) \
	    test/onboard/tracking/test_camera_motion.py

bench: setup
	@for script in $(sort $(wildcard bench/*.py)); do \
	    echo "== $$script"; $(RUN) python "$$script" --quick; \
	done

docs: setup
	@$(BIN)/python -m sphinx -q -E -W --keep-going docs out/site
	@echo "docs: out/site/index.html"

clean:
	rm -rf .venv .venv-* build install log out .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
