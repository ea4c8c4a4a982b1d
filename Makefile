# make demo [KEEP=1] [ARGS="-- --objectives infonce:0.06"]   the main job      make test    the tests      make bench   the speed table
PYTHON ?= python3
BIN := .venv/bin
PORT ?= 9090
WORKERS ?= 2
INSTALLED := .venv/.installed

.PHONY: install demo stop test test-fuzz test-fuzz-guided test-faults test-security test-cluster test-dashboards test-engines soak outage watch bench check docs
install: $(INSTALLED)

# torch first and pinned: a wider requirement would take a build with gigabytes of CUDA
# pip compiles on one core, so we do it on all, but for a fifth that few processes import
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python -m compileall -q -j 0 -x '/tests?/|/transformers/models/|/plotly/' .venv/lib > /dev/null 2>&1 || true
	touch $@

demo: install
	$(BIN)/python -m ray_jobs.demo $(if $(KEEP),--keep) $(ARGS)

stop: install
	$(BIN)/python -m ray_jobs.demo --stop

# two processes; the tests of a file share one, and so its fixtures
test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# 10,000 cases of bad input for every reader
test-fuzz: install
	FUZZ_PROFILE=long $(BIN)/python -m pytest tests/fuzz

# our parsers, on inputs chosen by the branches that they reach (atheris)
test-fuzz-guided: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.guided

# a real Prometheus scrapes real jobs, and every panel must have data: two minutes, Debian's prometheus
test-dashboards: install
	$(BIN)/python -m pytest -m dashboards

# Debian's Prometheus over the stack that `make demo KEEP=1` leaves: http://127.0.0.1:9090/consoles/training.html
watch:
	prometheus --config.file=dashboards/prometheus/prometheus.yml --web.console.templates=dashboards/prometheus/consoles \
	  --storage.tsdb.path=results/prometheus --web.listen-address=127.0.0.1:$(PORT) --log.level=warn

# kills, stops and cuts off every part of a running job, one after the other, and prints what held
test-faults: install
	$(BIN)/python -m pytest -m faults tests/faults

# NUM kills of workers within MINUTES, and the goodput
NUM ?= 4
MINUTES ?= 4
soak: install
	$(BIN)/python -m tests.faults.soak --kills $(NUM) --minutes $(MINUTES)

# a step of training while MLflow is up, killed, hung: 5 minutes
outage: install
	$(BIN)/python -m tests.faults.outage

# every port of the stack, without its token; SECURITY.md has the table
test-security: install
	$(BIN)/python -m pytest tests/security -m "doors or not doors" -v

# the engines that can be had here, each loaded and searched: the extra `engines` and two minutes
test-engines: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[engines]'
	$(BIN)/python -m pytest tests/engines -v

# two Ray nodes in network namespaces; needs root
test-cluster: install
	$(BIN)/python -m pytest tests/cluster -m cluster -v

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

SOURCES := tempembed ray_jobs benchmarks dashboards tests docs/*.py

# format, lint, types, and which room may import which
check: install
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# the site, in site/; a warning is an error
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
