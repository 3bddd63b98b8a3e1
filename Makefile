# `make demo` and `make test` are the two to know: on a machine with Rust and a C compiler each
# installs the servers it needs, builds, and runs. `make` alone lists all targets.

# For example: make demo DEMO_ARGS=--keep, make test TEST_ARGS=recovery, make bench BENCH_ARGS=--quick
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
# Inputs for each of seven readers.
MUTATIONS ?= 10000000
# From cold, the optimised build takes half as long again, and the tests could use nothing of it. Pixel
# work is optimised in both (see Cargo.toml).
DEMO_PROFILE ?= dev

.DEFAULT_GOAL := help
.PHONY: help demo test chaos many ledger mutations hostile kills bench lint advisories fmt build image clean servers test-servers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: servers ## see pictures come out of a queue, with a private Redis and Postgres (DEMO_ARGS=--keep leaves them up)
	cargo run --profile $(DEMO_PROFILE) --locked -- demo $(DEMO_ARGS)

test: test-servers ## run all tests against a private Redis and Postgres (TEST_ARGS=word: only those)
	@scripts/test $(TEST_ARGS)

chaos: test-servers ## kill the worker at every step many times and count what is lost (half an hour)
	@scripts/chaos

kills: test-servers build ## kill the program that is shipped a hundred times at any moment of three kinds of work (10 minutes)
	CHAOS_ROUNDS=20 WORKER_PROGRAM=$(CURDIR)/target/release/generative-ai-worker scripts/test kills::

many: test-servers build ## compare what a job costs Redis and Postgres with fifty replicas and with three (5 minutes)
	MANY_REPLICAS=50 MANY_PACKAGES=100000 WORKER_PROGRAM=$(CURDIR)/target/release/generative-ai-worker \
		scripts/test many_replicas:: --no-capture

ledger: test-servers ## compare what statements take beside ten million ended jobs and beside ten thousand, and what pages take (a quarter of an hour, 12 GB)
	LEDGER_ROWS=10000000 scripts/test ledger:: --no-capture
	LEDGER_ROWS=1000000 scripts/test dashboard::many:: --no-capture

mutations: ## give every reader of foreign bytes mutated ones (an hour or so; MUTATIONS=1000: only so many each)
	MUTATIONS=$(MUTATIONS) cargo nextest run --lib --locked --no-capture mutated

hostile: test-servers build ## measure what hostile pictures cost at the most, one row of a table each
	rm -f target/hostile.md
	MEASURED=$(CURDIR)/target/hostile.md HOSTILE_ORDERS=1000 WORKER_PROGRAM=$(CURDIR)/target/release/generative-ai-worker scripts/test hostile::
	@cat target/hostile.md

bench: servers build ## measure the worker beside simpler programs (20 minutes; BENCH_ARGS=--quick: 3, =--help: more)
	cargo build --release --locked --features bench --bin bench
	target/release/bench $(BENCH_ARGS)

lint: ## check formatting, clippy, documentation, dependencies and scripts, as CI does
	@scripts/lint

advisories: ## look whether a dependency has a known fault (needs GitHub; before each release and weekly)
	@scripts/cargo-deny check advisories

fmt: ## format the code
	cargo fmt

build: ## build the release binary, target/release/generative-ai-worker
	cargo build --release --locked
	@scripts/check-release

image: ## build the container image, generative-ai-worker (needs a container engine)
	docker build -t generative-ai-worker .

clean: ## remove what was built and the pictures of the demo
	cargo clean
	rm -rf images demo-pictures

servers:
	@scripts/install-servers

test-servers:
	@scripts/install-servers tests
