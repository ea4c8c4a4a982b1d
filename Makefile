# make demo [KEEP=1] [ARGS="-- --objectives infonce:0.06"]   the main job      make test    the tests      make test-fuzz   10,000 cases of bad input for every reader      make bench   the speed table
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install demo stop test test-fuzz bench check
install: $(INSTALLED)

# torch first and pinned: a wider requirement would take a build with gigabytes of CUDA
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/python -m ray_jobs.demo $(if $(KEEP),--keep) $(ARGS)

stop: install
	$(BIN)/python -m ray_jobs.demo --stop

test: install
	$(BIN)/python -m pytest

test-fuzz: install
	FUZZ_PROFILE=long $(BIN)/python -m pytest tests/fuzz

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

check: install
	$(BIN)/ruff format --check tempembed ray_jobs benchmarks tests
	$(BIN)/ruff check tempembed ray_jobs benchmarks tests
	$(BIN)/mypy
