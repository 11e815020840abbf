# Two commands matter: `make quickstart` (set-up and the main job) and `make test` (set-up and the tests).
# `make bench` compares the published code with this one and writes docs/performance.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Two processes; what tests share is made once, see tests/conftest.py.
PARALLEL := --numprocesses 2 --dist loadfile
# Where it is set, as in many containers, every process would compile TensorFlow's modules again,
# which takes longer than to import them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup quickstart bench test test-fast test-all lint lock

setup: $(INSTALLED)

# pip's own resolver does not finish on these dependencies; uv installs the committed lock. An
# environment of another Python, or one whose set-up was interrupted, is made anew.
$(INSTALLED): requirements.lock setup.cfg setup.py pyproject.toml
	@version=$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2> /dev/null); \
	case "$$version" in 3.11.*|3.12.*|3.13.*) ;; *) \
	  echo "deepmac_ablate needs Python 3.11, 3.12 or 3.13; $(PYTHON) $${version:+is }$${version:-does not run}." \
	    "Pass another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1;; esac; \
	$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install the package python$${version%.*}-venv" \
	    "(Debian, Ubuntu)." >&2; exit 1; }; \
	test -e $@ && test "$$($(BIN)/python --version 2>&1)" = "Python $$version" || \
	  $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet "uv>=0.8"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

SHAPES := data/shapes/val-info.json
$(SHAPES): | $(INSTALLED)
	$(BIN)/deepmac-ablate data shapes --output data/shapes

# The main job: a sweep of four arms with three seeds each on the built-in synthetic dataset.
quickstart: $(INSTALLED) $(SHAPES)
	$(BIN)/deepmac-ablate launch sweeps/quickstart.py --max-parallel 2

bench: $(INSTALLED) $(SHAPES)
	$(BIN)/python -m tests.benchmarks --write

lint: $(INSTALLED)
	$(BIN)/ruff check .

test: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not extended"

test-fast: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not extended"

test-all: lint
	$(BIN)/python -m pytest $(PARALLEL)

# Needs uv; the only place where versions are chosen: for every supported Python, and for images
# (Dockerfile*), whose Python is 3.11. Locked versions stay as long as setup.cfg allows them.
# tensorflow-tpu is the same package under another name, so that tensorflow must not come with it.
COMPILE := $(BIN)/uv pip compile setup.cfg --quiet --python-version 3.11 --no-emit-index-url \
  --custom-compile-command "make lock"
lock: $(INSTALLED)
	$(COMPILE) --extra test --universal --output-file requirements.lock
	$(COMPILE) --extra gpu --constraints requirements.lock --output-file requirements-gpu.lock
	$(COMPILE) --extra tpu --constraints requirements.lock --no-emit-package tensorflow \
	  --output-file requirements-tpu.lock
