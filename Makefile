# What people type and what CI calls. `make` alone explains itself.

SHELL := /bin/bash
TARGET := $(or $(CARGO_TARGET_DIR),target)
# The tests kill processes at named points; only test builds know those.
TEST_FEATURES := --features warren-hub/crash-points
KILLS ?= 300
# The versions of RabbitMQ that `make test-brokers` goes through; the first is the machine's own.
BROKERS ?= own 4.0 4.3

.DEFAULT_GOAL := help
# Filters of the integration tests, such as `TESTS=flow::`; all of them unless told.
TESTS ?=
.PHONY: help run test test-brokers check conformance secrets bench bench-devices load soak

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, build, start a development hub (ARGS="--amqp-port 5692" moves a port)
	@scripts/install-build-tools
	@scripts/install-rabbitmq
	cargo build --release -p warren-hub
	@exec $(TARGET)/release/warren dev $(ARGS)

test: ## Install what the tests need, then run all of them
	@scripts/install-test-tools
	cargo build --workspace --bins $(TEST_FEATURES)
	cargo test --workspace --no-fail-fast $(TEST_FEATURES)

test-brokers: ## All integration tests on RabbitMQ 4.0 and 4.3 too; Linux, as root (BROKERS="4.3" TESTS="flow::")
	@scripts/install-test-tools
	cargo build --workspace --bins $(TEST_FEATURES)
	@for version in $(BROKERS); do \
	  scripts/test-broker "$$version" cargo test -p warren-tests --no-fail-fast $(TEST_FEATURES) --test it -- $(TESTS) || exit 1; \
	done

check: ## Format, lints and documentation, warnings denied; definitions.json and docs/topology.svg are fresh
	@scripts/install-lint-tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo run --quiet --bin warren $(TEST_FEATURES) -- topology export --config deploy/compose.toml --check definitions.json
	cargo run --quiet --bin warren $(TEST_FEATURES) -- topology graph --config deploy/compose.toml --check docs/topology.svg

conformance: ## Put both example workers through the conformance kit (AMQP_URL=... for a broker of yours)
	@scripts/install-build-tools
	@scripts/install-worker-tools
	cargo build -p warren-hub
	@scripts/conformance $(TARGET)/debug/warren

secrets: ## Write .env for docker-compose.yml, with random secrets; what it has already stays
	@scripts/make-secrets

bench: ## Compare Warren with what a team would write without it
	@scripts/install-test-tools
	tests/bench/run

bench-devices: ## What devices cost and how fast a message gets to one (ARGS="--runs 3 --json")
	@scripts/install-test-tools
	tests/bench/run --only devices-idle,devices-latency,devices-room,devices-broadcast,device-declares,devices-sizes $(ARGS)

load: ## Run k6 against a running hub
	tests/k6/run

soak: ## Kill the hub again and again under load (KILLS=300)
	@scripts/install-test-tools
	KILLS=$(KILLS) tests/soak/run
