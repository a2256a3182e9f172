# One target per task; CI runs the same targets. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help up down test lint bench bench-load instructions instructions-check fallbacks history put-back images e2e servers browser deny \
	kubernetes swarm swarm-short swarm-machine

# OBSERVE=1 also starts Prometheus.
UP_FLAGS := $(if $(OBSERVE),--observe)

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Start the stack on this machine and leave it running (no Docker needed); OBSERVE=1 adds Prometheus
	cargo build --release -p api -p lab
	target/release/lab up --detach $(UP_FLAGS)

down: ## Stop what `make up` started; the database's records stay
	cargo build -q --release -p api -p lab
	target/release/lab down

test: servers browser ## Run every test that needs no Docker: the real binaries over real servers, the pages in a real browser
	cargo test --workspace --features lab/browser
	deploy/prometheus/test.sh

# Starting the stack once installs missing servers from the distribution, or says what to install.
servers:
	cargo build -p api -p lab -p loadgen --features lab/browser
	target/debug/lab --state-dir .stack-check up --detach --port 0
	target/debug/lab --state-dir .stack-check down --purge

# As the servers: installed when missing, or named.
browser:
	deploy/ensure-programs.sh browser

lint: ## Check formatting, clippy and the shell scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features lab/docker,lab/browser,loadgen/tls -- -D warnings
	@if command -v shellcheck >/dev/null; then \
		git ls-files '*.sh' .ci/run | xargs shellcheck -S warning; \
	else echo 'shellcheck is not installed: the shell scripts were not checked'; fi

deny: ## Check licences and advisories of the dependencies (needs cargo-deny)
	cargo deny check

bench: ## Measure each path beside its physical limit and record the table (about five minutes, on a machine with nothing else to do)
	cargo build --release -p api --bins --example bare -p lab --bin lab -p loadgen --bin load
	load-tests/benchmark.sh

instructions: ## Count the instructions per request of each path under callgrind, and record them (two minutes, also on a busy machine)
	deploy/ensure-programs.sh valgrind
	cargo build --release -p api --bins --example bare
	cargo build -p api -p lab -p loadgen --features lab/browser
	TOOLS=target/debug load-tests/instructions.sh

# Without the bare route, whose build takes longer than everything else.
instructions-check: ## Fail when a path takes more than 5 % more instructions per request than recorded
	deploy/ensure-programs.sh valgrind
	cargo build --release --locked -p api
	cargo build -p api -p lab -p loadgen --features lab/browser
	TOOLS=target/debug load-tests/instructions.sh --check

bench-load: ## Measure the load generator against wrk and oha
	cargo build --release -p loadgen
	load-tests/bench.sh

fallbacks: ## Measure the fallback matrix and write its report to reports/ (about two minutes)
	cargo build --release -p api -p lab
	target/release/lab run fallbacks --allowance 25 --out reports

history: ## Prove the promises of cache and writes: two minutes of writers, readers and faults, and a checker
	cargo build --release -p api -p lab
	target/release/lab history

put-back: ## Put faults back into the API one at a time, and let a recorded history find each (half an hour)
	crates/lab/put-back/run.sh --out load-tests/results/put-back.md

images: ## Build the container images from Debian packages, for machines without a registry
	deploy/images/build.sh

e2e: images ## Prove the compose stack on a real Docker engine (about three minutes)
	deploy/e2e.sh

kubernetes: ## Validate deploy/kubernetes and deploy/swarm: render, schemas, policies (no cluster; needs python3-venv)
	deploy/kubernetes/test.sh

swarm: swarm-machine images ## Run the stack on a real Swarm of three nodes on this machine, break it, and record what clients notice (root; three minutes)
	cargo build -q --release -p loadgen
	deploy/swarm/local/run.py --load target/release/load --report load-tests/results/swarm.md

swarm-short: swarm-machine images ## The same with a lost node and a rolling update only (root; one and a half minutes)
	cargo build -q -p loadgen
	deploy/swarm/local/run.py --short --load target/debug/load

# Before the images are built.
swarm-machine:
	@deploy/swarm/local/run.py --check
