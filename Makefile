# Every way people and CI build, run and judge Tokentrail. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DOCKER ?= docker
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
SBOM := .cache/sbom
LOCKS := requirements/run.txt requirements/dev.txt requirements/build.txt
UV_COMPILE := .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UV_FLAGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo run test verify lint format docs bench storm image sbom lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

.venv/ready: $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tokentrail needs Python 3.11 or newer; name one with PYTHON=")'
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --require-hashes $(addprefix -r ,$(LOCKS))
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

setup: .venv/ready ## make .venv with everything pinned; then .venv/bin/tokentrail works

demo: .venv/ready ## the whole pipeline on sample events: no broker, no Java
	$(BIN)/tokentrail demo

run: .venv/ready ## the service, with the settings of the environment and config/
	$(BIN)/tokentrail run

test: .venv/ready ## tests; those with a real Kafka need java and mvn, else they say why they skip
	.ci/test

verify: lint ## lint and every test, the long ones too
	.ci/test --long

lint: .venv/ready ## style, formatting, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

format: .venv/ready ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/ready ## write what is made from the code: tables, the catalogue, the dashboard, the chart's copies
	$(BIN)/python -m tests.generate_docs
	$(BIN)/python -m deploy.grafana.dashboard
	$(BIN)/python -m tests.deploy.chart

storm: .venv/ready ## faults on real workers and brokers: nothing lost, nothing doubled; ARGS="--control --seconds 600"
	$(BIN)/python -m tests.storm $(ARGS)

bench: .venv/ready ## speed beside what else one could pick; ARGS="--part live --quick --rounds 1"
	$(BIN)/python -m tests.bench $(ARGS)

image: ## the container image, by Docker or what DOCKER= names; ARGS="--build-arg REQUIREMENTS=msk-iam"
	$(DOCKER) build --tag tokentrail:$(VERSION) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) $(ARGS) .

sbom: .venv/ready ## what the image installs, as CycloneDX: dist/tokentrail.cdx.json
	$(PYTHON) -m venv --clear $(SBOM)/tool
	$(PIP) --python $(SBOM)/tool/bin/python install --require-hashes -r requirements/sbom.txt
	$(PYTHON) -m venv --clear --without-pip $(SBOM)/image
	rm -rf $(SBOM)/dist
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(SBOM)/dist .
	$(PIP) --python $(SBOM)/image/bin/python install --require-hashes -r requirements/run.txt
	$(PIP) --python $(SBOM)/image/bin/python install --no-deps --no-index $(SBOM)/dist/*.whl
	@mkdir -p dist
	$(SBOM)/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-file dist/tokentrail.cdx.json $(SBOM)/image/bin/python

.cache/uv/ready: requirements/uv.txt
	$(PYTHON) -m venv --clear .cache/uv
	.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lock: .cache/uv/ready ## make requirements/*.txt anew, keeping pins that still fit (newest: UV_FLAGS=--upgrade)
	$(UV_COMPILE) pyproject.toml -o requirements/run.txt
	$(UV_COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(UV_COMPILE) --group build -o requirements/build.txt
	$(UV_COMPILE) pyproject.toml --extra msk-iam -c requirements/run.txt -o requirements/msk-iam.txt
	$(UV_COMPILE) requirements/peers.in -o requirements/peers.txt
	$(UV_COMPILE) requirements/peers-quix.in -o requirements/peers-quix.txt
	$(UV_COMPILE) requirements/peers-files.in -o requirements/peers-files.txt
	$(UV_COMPILE) requirements/sbom.in -o requirements/sbom.txt
	$(UV_COMPILE) requirements/uv.in -o requirements/uv.txt
	@touch .cache/uv/ready
