# Sluice's one entry for people and for CI. `make help` lists the targets.
# Each target does its own set-up (tests/scripts/setup.sh) and says what it installs.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run demo build test check bench test-all image clean

SCRIPTS := tests/scripts

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

run: ## Build, start a gateway and two workers, answer a join over three catalogs, stay up until Ctrl-C.
	@$(SCRIPTS)/run.sh

demo: ## The same over a private real PostgreSQL, Parquet files and generated TPC-H tables.
	@$(SCRIPTS)/demo.sh

build: ## Build the `sluice` binary (target/release/sluice).
	@$(SCRIPTS)/setup.sh build
	cargo build --release --locked --bin sluice

test: ## Run every test of the workspace against real servers.
	@$(SCRIPTS)/test.sh

check: ## Formatting, lints, documentation, generated references, import rules.
	@$(SCRIPTS)/check.sh

bench: ## Measure against PostgreSQL, plain DataFusion, DuckDB, mysql_fdw, Trino; SF=10 for Q17 and Q18 at that scale.
	@SF=$(SF) $(SCRIPTS)/bench.sh

test-all: ## `make test` with the long suites, Dockerfile lint and the image build.
	@SLUICE_TEST_ALL=1 $(SCRIPTS)/test.sh
	@$(SCRIPTS)/image.sh

image: ## Lint docker/Dockerfile and build the image without a container engine (root, Debian).
	@$(SCRIPTS)/image.sh

clean: ## Remove what the tests and the demo generated; compiled code stays (`cargo clean` removes that).
	rm -rf "$${CARGO_TARGET_DIR:-target}/sluice-data" "$${CARGO_TARGET_DIR:-target}/sluice-image"
