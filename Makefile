# Two commands need nothing but Python 3.11+ and make:
#   make demo   set up, segment real photos in every mode, write demo/report.html
#   make test   set up, run the whole test suite
# The rest is for developers: lint, type, fmt, docs, bench, clean.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint type fmt docs bench clean

help:
	@sed -n 's/^#   //p' Makefile

# Set-up is repeated when the dependencies change, or when the environment was made elsewhere or half-way.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Maskwright needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY)
	$(BIN)/maskwright demo --out demo

# One thread a process: the tests run in $(WORKERS) processes, and two pools on one core only wait for each other.
# Bytecode is kept, whatever the environment says: hundreds of processes import the package.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(READY) type
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

type: $(READY)
	$(BIN)/mypy

fmt: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Peers without what they depend on: the environment has all of it but torchvision, for which benchmarks/ has a stand-in.
$(VENV)/.peers: $(READY) benchmarks/peers.txt
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	@touch $@

bench: $(VENV)/.peers
	$(BIN)/python benchmarks/run.py $(BENCH)

docs: $(READY)
	$(BIN)/python docs/cli_reference.py
	$(BIN)/python docs/datasets_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
