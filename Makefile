# Every target does its own set-up: a virtual environment with everything from constraints.txt.
PYTHONS = python3.11 python3.12 python3.13 python3.14
# The first that runs; a name alone may be that of a version manager, which then says that it has none.
PYTHON ?= $(or $(firstword $(foreach one,$(PYTHONS),$(shell $(one) -c 'print("$(one)")' 2>/dev/null))),python3.11)
NO_PYTHON = $(PYTHON): not found. Lucid needs Python 3.11, 3.12, 3.13 or 3.14 and its venv module: install them (Debian, Ubuntu: \
	apt install python3.11 python3.11-venv, or another of these that it has; macOS: brew install python@3.11; elsewhere: uv \
	python install 3.11), or say where it is: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11
NO_VENV = $(PYTHON) cannot make a virtual environment (above it says why). Debian and Ubuntu have what it needs in a package \
	of its own: apt install $(or $(filter $(PYTHONS),$(notdir $(PYTHON))),python3.11)-venv. Then again: make \
	$(or $(MAKECMDGOALS),install)
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS)
INSTALLED := $(VENV)/.installed
TOOLS ?= .venv-tools
EQUIPPED := $(TOOLS)/.installed
URL ?= http://127.0.0.1:8000
FUZZ := $(BIN)/st --config-file tests/schemathesis.toml run $(URL)/openapi.json $(ARGS)
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Quiet twice: no warnings of pip's own either, such as of being root; errors are told all the same.
export PIP_QUIET := 2

.PHONY: help install demo test test-fast check docs fuzz-api bench-quality bench-speed bench-import bench-api bench-fresh bench-sessions bench-signals bench-trending bench-placements bench-starts bench-cancel bench-estimate bench-events bench-console chaos soak diagram pictures vendor audit lock clean

help:
	@echo "make demo    start the service, upload, train, recommend; DATA=folder for your own data, KEEP=1 to keep it up"
	@echo "make test    run the tests, with two workers; WORKERS=0 for none, ARGS='tests/data -k gzip' for some"
	@echo "make test-fast   run those that need no service and are quick"
	@echo "make check   ruff, mypy (strict), the layers and the tests; warnings are errors"
	@echo "make docs    the pages of docs/ as a site, in build/docs"
	@echo "make pictures   the pictures of the console in docs/images, taken anew of a service with the demo's data"
	@echo "make diagram the picture of the flows in docs/flows.svg, drawn anew from a run of each"
	@echo "make fuzz-api KEY=key [URL=http://127.0.0.1:8000]   generated requests to a running service, with the key and without"
	@echo "make bench-quality DATA=folder   how well the data sets in it are ranked, next to baselines"
	@echo "make bench-speed [DATA=folder]   how long fits take as data grow; DATA: precomputation, and trainings beside an earlier commit"
	@echo "make bench-api   how many look-ups a second, next to a bare route; needs wrk (apt install wrk)"
	@echo "make bench-starts  how soon a run begins, and what becomes of 20 clients who ask for many at once"
	@echo "make bench-cancel  how soon a training ends that somebody cancels"
	@echo "make bench-estimate [DATA=folder]   how well the time and memory of trainings are foreseen"
	@echo "make bench-console how soon each page of the console answers, with a million entities"
	@echo "make bench-events              events a second, how soon they count, and what kills lose; ARGS='--rounds 100'"
	@echo "make bench-trending   what popular and trending cost, and whether what rises is found"
	@echo "make bench-fresh DATA=folder   how well folded-in answers agree with a retrained model, on its ml-latest-small"
	@echo "make bench-sessions [DATA=folder]   how much better next interactions are ranked where their order counts"
	@echo "make bench-signals DATA=folder   what it is worth that ratings say how much was liked what, on its ml-1m and ml-latest-small"
	@echo "make bench-placements   10,000 random rule sets of placements against an oracle, and how long answers with rules take"
	@echo "make chaos [ROUNDS=30]   kill parts of a running service at random moments, and see that nothing is lost"
	@echo "make soak [RUNS=500]   let a service with short memory work for about 15 minutes, and see that nothing of it grows"
	@echo "make audit   known vulnerabilities in what is installed (exit code 1; 2 where not all could be checked) and licences"
	@echo "make vendor  the files of others that the console loads, fetched anew as vendor.json says; needs npm"
	@echo "make lock [TORCH_CPU=page or folder of its wheels]   write deploy/*.lock anew from constraints.txt, with hashes"
	@echo "make bench-import   how fast files are imported, next to DuckDB alone"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(strip $(NO_PYTHON))" >&2; exit 1; }
	@echo "Setting up $(VENV): a minute or two"
	@$(PYTHON) -m venv $(VENV) || { echo "$(strip $(NO_VENV))" >&2; exit 1; }
	@$(BIN)/pip install --editable '.[dev,docs]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/lucid demo $(if $(DATA),--data $(DATA)) $(if $(filter-out 0,$(KEEP)),--keep)

# Workers share the cores: each, and each process that it starts, computes with one thread.
test test-fast check: export OMP_NUM_THREADS := 1
# Compiled modules are kept even where the shell says no: tests start many processes.
test test-fast check: export PYTHONDONTWRITEBYTECODE :=

test: $(INSTALLED)
	$(PYTEST) $(ARGS)

test-fast: $(INSTALLED)
	$(PYTEST) -m 'not service and not slow' $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(PYTEST) $(ARGS)

docs: $(INSTALLED)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file deploy/mkdocs.yml
	@echo "Open build/docs/index.html; to search, too: $(BIN)/python -m http.server -d build/docs"

# Of its own home: it uploads, trains, erases and deletes. A model `videos` of types user and video gives it more to ask.
fuzz-api: $(INSTALLED)
	@$(BIN)/pip install --editable '.[fuzz]'
	$(FUZZ) --header 'apikey: $(KEY)'
	$(FUZZ)

bench-quality: $(INSTALLED)
	@$(BIN)/pip install --editable '.[bench]'
	$(BIN)/python -m benchmarks.quality $(DATA) $(ARGS)

bench-speed: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed $(if $(DATA),--data $(DATA)) $(ARGS)

bench-import: $(INSTALLED)
	$(BIN)/python -m benchmarks.import_speed $(ARGS)
	$(BIN)/python -m benchmarks.upload_memory

bench-api: $(INSTALLED)
	$(BIN)/python -m benchmarks.api_speed $(ARGS)

bench-fresh: $(INSTALLED)
	$(BIN)/python -m benchmarks.freshness $(DATA)

bench-sessions: $(INSTALLED)
	$(BIN)/python -m benchmarks.sessions $(if $(DATA),--data $(DATA)) $(ARGS)

bench-signals: $(INSTALLED)
	$(BIN)/python -m benchmarks.signals $(DATA) $(ARGS)

bench-events: $(INSTALLED)
	$(BIN)/python -m benchmarks.events $(ARGS)

bench-trending: $(INSTALLED)
	$(BIN)/python -m benchmarks.trending $(ARGS)

bench-placements: $(INSTALLED)
	$(BIN)/python -m benchmarks.placements $(ARGS)

bench-estimate: $(INSTALLED)
	$(BIN)/python -m benchmarks.estimate $(if $(DATA),--data $(DATA)) $(ARGS)

bench-starts: $(INSTALLED)
	$(BIN)/python -m benchmarks.starts $(ARGS)

bench-cancel: $(INSTALLED)
	$(BIN)/python -m benchmarks.cancel $(ARGS)

bench-console: $(INSTALLED)
	$(BIN)/python -m benchmarks.console_speed $(ARGS)

diagram: $(INSTALLED)
	$(BIN)/python -m deploy.diagram

pictures: $(INSTALLED)
	$(BIN)/python -m deploy.pictures

vendor:
	@command -v npm >/dev/null || { echo "npm: not found; it fetches these files (Debian, Ubuntu: apt install npm)" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(strip $(NO_PYTHON))" >&2; exit 1; }
	@$(PYTHON) deploy/vendor.py

ROUNDS ?= 30
chaos: $(INSTALLED)
	$(BIN)/python -m benchmarks.chaos --rounds $(ROUNDS) $(ARGS)

RUNS ?= 500
soak: $(INSTALLED)
	$(BIN)/python -m benchmarks.soak --runs $(RUNS) $(ARGS)

# Programs of their own environment: what they need is not among what they look at.
$(EQUIPPED): constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(strip $(NO_PYTHON))" >&2; exit 1; }
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install pip-audit pip-licenses uv
	@touch $@

# `make` itself ends with 2 for any failure; the last line says which code it was.
audit: $(INSTALLED) $(EQUIPPED)
	@$(BIN)/python -m deploy.audit $(TOOLS)/bin

lock: $(EQUIPPED)
	$(TOOLS)/bin/python -m deploy.lock $(TOOLS)/bin/uv $(TORCH_CPU)

clean:
	rm -rf $(VENV) $(TOOLS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
