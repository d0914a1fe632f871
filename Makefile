# `make demo` is all a newcomer needs: the first target makes .venv and installs nc_tf into it, once.
# Another interpreter than the one found: make PYTHON=python3.12 demo

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
SCRIPTS := $(wildcard *.py video/*.py examples/*.py docs/_generate/*.py) benchmarks
PYTHON ?=
# A file a core: fixtures of a module are made once.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# What `make video-demo` draws with, and where it writes.
SEED := 0
VIDEO_DEMO := video_demo

.PHONY: demo video-demo quick test lint types docs bench reproduce clean help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## scan a small infected network, draw its trigger, repair it (no data, no GPU)
	$(BIN)/nc-tf demo

video-demo: $(STAMP) ## the same for video clips: train, plant a backdoor, look for it, take it out (rendered clips)
	$(BIN)/python video/0_train_clean.py --seed $(SEED) --output_model_path $(VIDEO_DEMO)/clean.keras
	$(BIN)/python video/1_reconstruct_trigger.py --seed $(SEED) --clean_model_path $(VIDEO_DEMO)/clean.keras --output_dir $(VIDEO_DEMO)
	$(BIN)/python video/2_inject_backdoor.py --seed $(SEED) --clean_model_path $(VIDEO_DEMO)/clean.keras --trigger_type patch \
	    --output_model_path $(VIDEO_DEMO)/infected.keras
	$(BIN)/python video/3_detect_backdoor.py --seed $(SEED) --backdoor_model_path $(VIDEO_DEMO)/infected.keras \
	    --output_dir $(VIDEO_DEMO)/scan || test $$? -ne 2
	$(BIN)/python video/4_mitigate_backdoor.py --seed $(SEED) --backdoor_model_path $(VIDEO_DEMO)/infected.keras \
	    --output_dir $(VIDEO_DEMO)/scan --true_trigger_path $(VIDEO_DEMO)/infected_trigger.npz

quick: lint ## lint, and run the tests that are not slow: under a minute on two cores
	$(PYTEST) -m "not slow"

test: $(STAMP) ## run all tests, and measure the coverage of those that are not slow
	$(PYTEST) --cov --cov-report=term-missing

lint: $(STAMP) ## look for mistakes in the style of the code, and for imports that run upwards
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(STAMP) ## check the types, tests and scripts included
	$(BIN)/mypy nc_tf tests $(SCRIPTS)

docs: $(STAMP) ## build the documentation site into build/site and check its links
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --quiet --strict

bench: $(STAMP) ## time the search
	$(BIN)/python -m benchmarks.scan.search

reproduce: $(STAMP) ## compute the published numbers again
	$(BIN)/python -m benchmarks.reproduce

clean: ## remove .venv, caches and build products; results stay
	rm -rf .venv build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An existing .venv is used as it is. Names are tried by running them: a launcher on the path may have no interpreter behind it.
.venv/bin/python:
	@fits='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	    if "$$candidate" -c "$$fits" >/dev/null 2>&1; then \
	        echo "Making .venv with $$("$$candidate" --version) ($$candidate)"; \
	        "$$candidate" -m venv .venv; \
	        exit 0; \
	    fi; \
	done; \
	echo "No usable Python found (tried: $(or $(PYTHON),python3.13 python3.12 python3.11 python3))." >&2; \
	echo "nc_tf needs Python 3.11, 3.12 or 3.13 with its venv module. Install one (on Debian and Ubuntu: python3 and python3-venv)" >&2; \
	echo "or name one: make PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(STAMP): setup.cfg | .venv/bin/python
	@echo "Installing nc_tf, TensorFlow and the tools into .venv: once, a few minutes, about 2 GB of disk"
	@PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e '.[dev]' | \
	    awk '/^Collecting / {sub(/[^A-Za-z0-9_.-].*/, "", $$2); print "  " $$2; fflush()} /^Installing collected/ {print "  unpacking"; fflush()}'
	@touch $@
	@echo "Installed."
