# make demo [KEEP=1] [ARGS="-- --objectives infonce:0.06"]   the main job      make test    the tests      make bench   the speed table
PYTHON ?= python3
BIN := .venv/bin
PORT ?= 9090
INSTALLED := .venv/.installed

.PHONY: install demo stop test test-dashboards watch bench check
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

# a real Prometheus scrapes real jobs, and every panel must have data: three minutes, Debian's prometheus
test-dashboards: install
	$(BIN)/python -m pytest -m dashboards

# Debian's Prometheus over the stack that `make demo KEEP=1` leaves: http://127.0.0.1:9090/consoles/training.html
watch:
	prometheus --config.file=dashboards/prometheus/prometheus.yml --web.console.templates=dashboards/prometheus/consoles \
	  --storage.tsdb.path=results/prometheus --web.listen-address=127.0.0.1:$(PORT) --log.level=warn

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

check: install
	$(BIN)/ruff format --check tempembed ray_jobs benchmarks dashboards tests
	$(BIN)/ruff check tempembed ray_jobs benchmarks dashboards tests
	$(BIN)/mypy
