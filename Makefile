# Everything here makes its own set-up: a Python of 3.10 to 3.13 and a package index are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# tflite-runtime 2.14, the older runtime that is still supported, needs NumPy 1: an environment of its own.
OLD_VENV := .venv-tflite-runtime
OLD_READY := $(OLD_VENV)/.ready
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo bench robustness test check format fuzz live-soak live-soak-test arm arm-quick arm-board arm-report clean help

help:
	@echo "make demo    see real photographs classified by a real model behind the defence"
	@echo "make bench   every measurement, quickly, and a report of them in build/bench/report"
	@echo "make robustness   every attack there is on a few photographs, in minutes (docs/robustness.md)"
	@echo "make test    everything that needs no special hardware"
	@echo "make arm     the device part on emulated 64-bit ARM boards (docs/arm.md); arm-quick: a small part of it"
	@echo "make arm-board   a whole emulated board: deployed to over SSH, its power cut in the middle"
	@echo "make live-soak  a camera, a broker and requests for MINUTES=10, while one after the other is killed"
	@echo "make check   ruff, mypy and the fast tests"
	@echo "make fuzz    100,000 broken pictures and requests against the service"
	@echo "make arm-report   the kernels as ARM code: loops, exact instruction counts, ratios to C"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "edgedefend needs Python 3.10 to 3.13, $(PYTHON) is $$($(PYTHON) --version): make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[convert,bench,arm,deploy,mqtt,serve,dask,dev]'
	@touch $@

$(OLD_READY): pyproject.toml | $(READY)
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then \
	  $(PYTHON) -m venv $(OLD_VENV) && \
	  $(OLD_VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[tflite-runtime]'; \
	else mkdir -p $(OLD_VENV); echo "tflite-runtime has no wheels for this Python: its tests will be skipped"; fi
	@touch $@

demo: $(READY)
	@sh bench/demo.sh $(BIN)

bench: $(READY)
	@sh bench/quick.sh $(BIN)

robustness: $(READY)
	$(BIN)/edgedefend bench robustness efficientnet-lite0 --quick --out build/robustness

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not slow"

test: $(READY) $(OLD_READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	EDGEDEFEND_TFLITE_RUNTIME_VENV=$(OLD_VENV) $(BIN)/pytest -q

# A camera, a broker (mosquitto) and requests for MINUTES, while one after the other is killed.
MINUTES ?= 10
LIVE_BUNDLE ?= build/live-soak/lite0/int8
$(LIVE_BUNDLE): | $(READY)
	$(BIN)/edgedefend convert --model efficientnet-lite0 --out build/live-soak/lite0

live-soak: $(READY) $(LIVE_BUNDLE)
	$(BIN)/edgedefend bench live-soak $(LIVE_BUNDLE) --minutes $(MINUTES) --json build/live-soak/result.json

# The same with a model that is made in a moment, as a test: a busy machine may make it slow, nothing else.
live-soak-test: $(READY)
	EDGEDEFEND_SOAK_MINUTES=$(MINUTES) $(BIN)/pytest -q tests/bench/test_live_soak.py

# What is not installed (a C compiler for ARM, llvm-mca 19) is unpacked under build/arm from Debian's packages.
arm-report: $(READY)
	$(BIN)/edgedefend bench arm-report --fetch --markdown bench/results/arm-report.md \
	  --json bench/results/arm-report.json --listing bench/results/arm-report

# On Debian with user namespaces; elsewhere they say in one line why not. See docs/arm.md.
arm: $(READY)
	$(BIN)/python -m tests.arm.prove

arm-quick: $(READY)
	$(BIN)/python -m tests.arm.prove --quick

# Its own target: the first push alone takes minutes under emulation. A run that passes writes docs/arm-board-output.txt.
arm-board: $(READY)
	$(BIN)/python -m tests.arm.prove_board --record

fuzz: $(READY)
	@test -e build/demo/int8/manifest.json || $(BIN)/edgedefend convert --model efficientnet-lite0 --data sample \
	  --precision int8 --out build/demo --force
	$(BIN)/python -m tests.serving.fuzz build/demo/int8

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OLD_VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
