# On a fresh machine with git, make and Python >= 3.11:
#   make report   write the report, one HTML page, from the committed verdicts, results and figures (needs no torch)
#   make verify   decide every claim, run the small empirical checks and the demonstration, and print the tables
#                 (make verify-theory does without torch)
#   make proofs   let Rocq check every proof of theory/formal and record what it found (prints how to install Rocq)
#   make test     run the whole test suite
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Builds of torch for CUDA bring their own Triton; on others its interpreter runs the fused scan's tests.
TRITON := triton==3.6.0
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: report verify verify-theory proofs test lint clean
.DELETE_ON_ERROR:

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps, so that a second call installs nothing.
$(VENV)/.theory: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e ".[verify]"
	@touch $@

$(VENV)/.empirics: $(VENV)/.theory
	$(PIP) -e ".[empirics]"
	@touch $@

$(VENV)/.figures: $(VENV)/.theory
	$(PIP) -e ".[figures]"
	@touch $@

$(VENV)/.dev: $(VENV)/.theory
	$(PIP) -e ".[verify,empirics,figures,dev]"
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(PIP) $(TRITON) || echo "no Triton here: tests of the fused scan are skipped"
	@touch $@ $(VENV)/.empirics $(VENV)/.figures

report: $(VENV)/.figures
	$(BIN)/python -m figures --stale
	$(BIN)/python -m figures report

verify: $(VENV)/.empirics verify-theory
	$(BIN)/python -m empirics checks --verdicts theory/verdicts.json
	$(BIN)/python -m empirics demo

verify-theory: $(VENV)/.theory
	$(BIN)/python -m theory --out theory/verdicts.json

proofs: $(VENV)/.theory
	$(BIN)/python -m theory.formal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# One thread each: there are as many workers as cores, and BLAS threads of several processes wait for each other.
test: lint
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --nbmake --nbmake-timeout=600 theory tests notebooks

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
