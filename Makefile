# make setup | demo | dev | test | soak | bench | lint | heat | lock | audit | clean     see README.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= embedded
FLOW ?= openfaas
MINUTES ?= 60
DATABASE ?= sqlite
TRIGGERS ?= 1
WORKERS ?= $(shell expr $$(nproc) + 1)

.PHONY: setup dev heat demo test soak bench lint format lock audit clean

# `setup` installs what the demo and the commands need. `dev` adds what tests, linters and benchmarks need.
setup: $(VENV)/.ready
dev: $(VENV)/.ready-dev

# --no-deps, because the lock files list all packages, and face_recognition would install dlib over dlib-bin.
# --use-pep517, so that the old pip of Debian 12 also builds and caches a wheel of the face models.
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --no-deps
LOCKED = $(INSTALL) --use-pep517 --require-hashes
FAILED = { echo "error: the packages were not installed; pip's message above says why. Set-up downloads" \
  "packages: connect this machine to the network, then run the same command again." >&2; exit 1; }

$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 to 3.13 is needed, not %d.%d; try: make setup PYTHON=python3.12" % sys.version_info[:2]) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make a virtual" \
	  "environment: install python3-venv (apt-get install python3-venv), then run the same command again." >&2; exit 1; }
	@echo "Installing $$(grep -c == requirements.txt) packages into $(VENV): 300 MB to download, 760 MB on disk ..."
	@$(PYTHON) -m venv $(VENV)
	@$(LOCKED) -r requirements.txt || $(FAILED)
	@$(INSTALL) --quiet --no-build-isolation -e . || $(FAILED)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	@echo "Installing what only tests, linters and benchmarks need into $(VENV): 1 GB more on disk ..."
	@$(LOCKED) --quiet -r requirements-dev.txt || $(FAILED)
	@touch $@

heat: .venv-heat/.ready

# Heat checks the template in openstack/. It has its own environment, because its packages conflict with ours.
.venv-heat/.ready: tests/manifests/requirements-heat.txt
	$(PYTHON) -m venv .venv-heat
	.venv-heat/bin/python -m pip install --quiet --no-deps --require-hashes -r $<
	touch $@

demo: setup
	$(BIN)/python -m devstack.demo --store $(STORE) --flow $(FLOW) $(if $(DATA),--data "$(DATA)")

# WORKERS processes share the tests. Each gets whole files, so that the fixtures of a file are made only once.
# There is one process more than cores, because many tests wait for a server or a clock. The files keep their
# order, in which the quick files of tests/unit come last and keep all processes busy until the end.
test: dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: dev
	PYTHONPATH=tests $(BIN)/python -m faults.soak --minutes $(MINUTES) --store $(STORE) \
	  --database $(DATABASE) --triggers $(TRIGGERS) $(if $(SEED),--seed $(SEED))

bench: dev
	$(BIN)/python -W ignore -m benchmarks.run --data "$(or $(DATA),state/demo/sample)" \
	  --store $(STORE) --only "$(ONLY)" $(if $(WRITE_DOCS),--write-docs)

lint: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links

lock: dev
	$(LOCK) --override requirements-overrides.txt --no-emit-package rollcall \
	  requirements-dev.in -o requirements-dev.txt
	$(LOCK) --override requirements-overrides.txt --no-emit-package rollcall \
	  --constraint requirements-dev.txt requirements.in -o requirements.txt
	$(LOCK) --constraint requirements-dev.txt openstack/requirements-worker.in \
	  -o openstack/requirements-worker.txt
	$(LOCK) tests/manifests/requirements-heat.in -o tests/manifests/requirements-heat.txt

audit: dev
	$(BIN)/python .ci/audit.py

# Removes only what make created. Galleries, inboxes and settings stay, also those of `rollcall up` in state/up.
clean:
	rm -rf $(VENV) .venv-heat state/demo/run state/demo/sample
	@for folder in state/demo state; do [ ! -d $$folder ] || rmdir --ignore-fail-on-non-empty $$folder; done
