# What one does with this repository; each line of it also works by hand. It needs Rust, and Debian or Ubuntu for what
# `scripts/services` installs.

SERVICES_DIR ?= $(or $(TMPDIR),/tmp)/ledgerline-services-$(shell id -u)

.PHONY: help demo test page-test api-test image-test sbom simulate helm-test helm-apiserver alerts-test test-real faults chaos mutants bench services services-stop lint install

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Ingest generated events into an embedded broker and database, and account for every offset
	cargo run --release -- demo

test: ## Run the tests against real Kafka and PostgreSQL, which it installs, starts and throws away
	scripts/services run -- cargo test --workspace

page-test: ## Look at the status page of a real worker with a real browser, which it installs; pictures: target/page
	scripts/browser run -- scripts/services run -- cargo test -p ledgerline-worker --test browser

api-test: ## Call every operation of the HTTP API with EXAMPLES=50 good and bad inputs (schemathesis, which it installs)
	scripts/schemathesis run -- scripts/services run -- cargo test -p ledgerline-worker --test schemathesis -- --nocapture

helm-test: alerts-test ## Check the Helm chart: renders, schemas, invariants, refusals, alerts; what it needs is installed
	scripts/helm test

helm-apiserver: ## Ask a real API server about the Helm chart: etcd and kube-apiserver, built from Go modules (long, once)
	scripts/apiserver test

alerts-test: ## Check the chart's alerts and dashboards with promtool, which it fetches, and that each alert's tests can fail
	scripts/alerts check
	scripts/alerts mutants

image-test: ## Build the container image, look at it and run it as a cluster does (hadolint, Buildah, which it installs); as root
	scripts/image test

sbom: ## Write the list of all parts of the program, C libraries included, to target/ledgerline.cdx.json (CycloneDX)
	scripts/sbom $${CARGO_TARGET_DIR:-target}/ledgerline.cdx.json

simulate: ## Run the write protocol in SCHEDULES (100000) seeded orders of events, or show the one of SEED
	LEDGERLINE_SIMULATION_SCHEDULES=$(or $(SCHEDULES),100000) $(if $(SEED),LEDGERLINE_SIMULATION_SEED=$(SEED)) \
	    cargo test --package ledgerline-worker --test simulation -- --nocapture every_schedule

test-real: ## Run the tests of real data, from the folder that LEDGERLINE_TEST_DATA names
	@test -d "$(LEDGERLINE_TEST_DATA)" || { \
	    echo "make test-real: LEDGERLINE_TEST_DATA='$(LEDGERLINE_TEST_DATA)' is not a folder; name the one that holds real data" >&2; \
	    exit 1; }
	LEDGERLINE_TEST_DATA="$$(realpath "$(LEDGERLINE_TEST_DATA)")" \
	    scripts/services run -- cargo test --test real -- --nocapture

OUTAGE ?= 60

faults: ## Run the tests of single faults, with PostgreSQL away for OUTAGE=60 seconds
	LEDGERLINE_TEST_OUTAGE_SECONDS=$(OUTAGE) scripts/services run -- \
	    cargo test -p ledgerline-worker --test suite -- --nocapture faults spool

SEEDS ?=
SECONDS ?=
SEED ?=

chaos: ## Let everything fail and count: SEEDS=20 SECONDS=60 for new luck, SEED=n for a run of before
	LEDGERLINE_CHAOS_SEEDS="$(SEEDS)" LEDGERLINE_CHAOS_SECONDS="$(SECONDS)" LEDGERLINE_CHAOS_SEED="$(SEED)" \
	    scripts/services run -- cargo test -p ledgerline-worker --test chaos -- --nocapture

mutants: ## Plant known bugs one by one and show which test notices each
	scripts/services run -- scripts/mutants $(MUTANTS)

ROWS ?= 25000000

bench: ## Measure, let a table grow to ROWS=25000000, write docs/BENCHMARKS.md; RECORD=1 for the ratios of --gate too
	cargo build --release
	LEDGERLINE_SERVICES_DURABLE=1 scripts/services run -- scripts/benchmarks $(ROWS) target/bench
	target/release/ledgerline bench report --write target/bench/write.json --e2e target/bench/e2e.json \
	    --growth target/bench/growth.json --page docs/BENCHMARKS.md $(if $(RECORD),--record docs/benchmarks.json)

services: ## Start Kafka and PostgreSQL for use by hand: eval "$(make -s services)"
	@scripts/services start "$(SERVICES_DIR)"

services-stop: ## Stop what `make services` started, and delete it
	@scripts/services stop "$(SERVICES_DIR)"

lint: ## Check format, clippy with the bans of clippy.toml, documentation, and that every known bug can still be planted
	@for patch in tests/mutants/*.patch; do \
	    git apply --check "$$patch" || { echo "make lint: $$patch no longer applies; a bug that cannot be planted proves nothing" >&2; exit 1; }; \
	done
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

install: ## Bring what `make test` needs, without running it
	scripts/services install
