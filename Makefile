# make setup | demo | test | soak | bench | lint | heat | lock | audit     see README.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= embedded
FLOW ?= openfaas
MINUTES ?= 60

.PHONY: setup heat demo test soak bench lint format lock audit clean

setup: $(VENV)/.ready

# --no-deps: the lock is complete, and face_recognition must not pull in dlib beside dlib-bin.
$(VENV)/.ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.13 is needed; try: make setup PYTHON=python3.12") if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

heat: .venv-heat/.ready

# Heat checks the template in openstack/; its packages do not go together with ours.
.venv-heat/.ready: tests/manifests/requirements-heat.txt
	$(PYTHON) -m venv .venv-heat
	.venv-heat/bin/python -m pip install --quiet --no-deps --require-hashes -r $<
	touch $@

demo: setup
	$(BIN)/python -m rollcall.tools.demo --store $(STORE) --flow $(FLOW) $(if $(DATA),--data "$(DATA)")

test: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: setup
	PYTHONPATH=tests $(BIN)/python -m faults.soak --minutes $(MINUTES) --store $(STORE) $(if $(SEED),--seed $(SEED))

bench: setup
	$(BIN)/python -W ignore -m benchmarks.run --data "$(or $(DATA),state/demo/sample)" \
	  --store $(STORE) --only "$(ONLY)" $(if $(WRITE_DOCS),--write-docs)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links

lock: setup
	$(LOCK) --override requirements-overrides.txt --no-emit-package rollcall \
	  requirements-dev.in -o requirements-dev.txt
	$(LOCK) tests/manifests/requirements-heat.in -o tests/manifests/requirements-heat.txt

audit: setup
	$(BIN)/python .ci/audit.py

clean:
	rm -rf $(VENV) .venv-heat state
