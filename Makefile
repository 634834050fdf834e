# make demo   watch parts being inspected (nothing else is needed)
# make test   set up and run all tests (DEEPPCB=FOLDER make test: with the real data set, see docs/training.md)
# make test-long  the tests that take long: several processes, killed trainings, searches, sticks, tokens
# make bench  the figures in the README
# make lint   style, types, import contracts
# make rtx-gate   install what `pytest -m gate` needs: it builds each exported model with TensorRT
# make trt-types   fetch what `pytest -m gate` reads the names and types of TensorRT 10.3 to 11 from
# make tuf-tests   fetch python-tuf's own tests, which `pytest -m gate` does to this update client
# make demo-bundle   rebuild the shipped model from simulated boards

# Tests start programs by the thousand, and one that was compiled before starts in half the time.
unexport PYTHONDONTWRITEBYTECODE

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
ROOT := $(shell [ "$$(id -u)" = 0 ] && echo "" || (sudo -n true 2>/dev/null && echo "sudo -n" || echo false))
apt = { $(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq $(1) >/dev/null; } >/dev/null 2>&1

.PHONY: demo test test-long bench lint demo-bundle rtx-gate trt-types tuf-tests broker test-programs clean

demo: $(VENV)/.demo broker
	$(BIN)/appliance demo $(DEMO_ARGS)

# Real processes that are killed and timed have the computer to themselves here, all other tests share it. A pytest process
# that dies ends the tests: pytest-xdist would start another one and wait for it for ever.
test: $(VENV)/.test broker test-programs
	$(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile -m "not faults and not gate and not long"
	$(BIN)/python -m pytest tests/faults -m "not long"

# What takes long: trainings by several processes, killed ones, searches, benchmarks on small data, sticks and tokens with
# releases, and long series of kills, two beside each other: their deadlines leave seconds.
test-long: $(VENV)/.test broker test-programs
	$(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist loadfile -m "long and not faults"
	$(BIN)/python -m pytest -n 2 --max-worker-restart 0 --dist load tests/faults -m long

bench: $(VENV)/.test broker
	$(BIN)/python -m benchmarks

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo-bundle: $(VENV)/.test
	$(BIN)/python -m benchmarks.demo_bundle

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  echo "installing python3-venv"; $(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || \
	  { echo "python3-venv is missing: install it and call make again"; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo,openvino,jetson,trainer,s3,agent,hsm,dev]'
	@touch $@ $(VENV)/.demo

# A TensorRT that builds engines where there is no accelerator (95 MB, proprietary, for tests only).
rtx-gate: $(VENV)/.test
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[rtx-gate]' || \
	  echo "TensorRT for RTX cannot be installed here: tests/unit/test_tensorrt_gate.py is skipped"

# The Python modules of TensorRT's releases (4 MB, proprietary, for tests only), without the libraries, which no public
# registry has: their names and types can be read, and nothing of them can run.
trt-types: $(VENV)/.test
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[trt-types]' && $(BIN)/python -m tests.tensorrt_types || \
	  echo "types cannot be made here: tests/unit/test_tensorrt_types.py is skipped"

# python-tuf's source release (0.3 MB, for tests only), in which its tests and its simulator of a repository are.
tuf-tests: $(VENV)/.test
	@$(BIN)/python -m tests.python_tuf

# mosquitto is the broker for real use; where it cannot be installed the embedded one (MQTT 3.1.1 only) takes over.
broker:
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || \
	  $(call apt,mosquitto) || \
	  echo "mosquitto cannot be installed without root: the embedded broker takes over, tests that need mosquitto are skipped"

# For tests: cc builds a wall clock that can be set, openssl makes certificates, sqlite3 reads a ledger, SoftHSM is a token.
test-programs:
	@{ command -v cc && command -v openssl && command -v sqlite3; } >/dev/null || \
	  $(call apt,gcc libc6-dev openssl sqlite3) || \
	  echo "gcc, openssl, sqlite3 cannot be installed without root: the tests that need them are skipped"
	@command -v softhsm2-util >/dev/null || $(call apt,softhsm2) || \
	  echo "softhsm2 cannot be installed without root: the tests of keys on tokens are skipped"

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
