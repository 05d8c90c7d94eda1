# The list of commands. `make` alone prints it.

# Everything that is built or installed goes here, outside of the clone.
SELKIE_CACHE ?= $(HOME)/.cache/selkie
CARGO_TARGET_DIR ?= $(SELKIE_CACHE)/target
# One build serves clone after clone: what incremental compilation keeps would be 10 GB beside it.
CARGO_INCREMENTAL ?= 0
export SELKIE_CACHE CARGO_TARGET_DIR CARGO_INCREMENTAL

# The suites run the programs that were just built, not others that cargo would build for them.
programs := $(CARGO_TARGET_DIR)/debug

.PHONY: help demo demo-stop test verify bench lint testbed build check

help: ## Prints this list
	@echo "make TARGET [SELKIE_CACHE=FOLDER], by default $(SELKIE_CACHE)"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: check ## Shows the main job on real servers, step by step, and leaves nothing running; KEEP=1 leaves it up
	@tests/bed/build.sh demo
	@echo "selkie and its controller: building"
	@cargo build --locked --quiet --package selkie-cli --package selkie-controller --package compat --bin selkie --bin selkie-controller --bin demo
	@SELKIE_BIN_DIR=$(programs) $(programs)/demo $(if $(filter-out 0 no,$(KEEP)),--keep)

demo-stop: ## Ends what `make demo KEEP=1` left up
	@if [ -x $(programs)/demo ]; then $(programs)/demo --stop; else echo "demo-stop: the demo is not built below $(CARGO_TARGET_DIR), so it left nothing up"; fi

test: testbed build ## Runs every suite, the large generated ones as a seeded sample
	SELKIE_BIN_DIR=$(programs) cargo test --locked --workspace --no-fail-fast

verify: testbed build ## Runs the full counts, goes on where it stopped, writes docs/verification/DATE.md
	@SELKIE_BIN_DIR=$(programs) tests/verify.sh

bench: check ## Compares speed and memory with sops, side by side; fails when a target is missed
	@tests/bed/build.sh sops pypi
	@cargo build --locked --quiet --release --package selkie-cli --bin selkie
	@cargo build --locked --quiet --package compat --bin bench
	@SELKIE_BIN_DIR=$(CARGO_TARGET_DIR)/release $(programs)/bench $(BENCH_FLAGS)

lint: check ## Checks formatting, clippy without warnings, and cargo deny where it is installed
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	@if cargo deny --version > /dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo "cargo deny is not installed, so licences and sources were not checked (cargo install cargo-deny)"; fi

testbed: check ## Builds or installs the real servers and the original tools; nothing to do when they are there
	@tests/bed/build.sh $(or $(BED),test)

# One build of all, so that `cargo test` finds every program and builds nothing twice.
build: check
	cargo build --locked --workspace --all-targets

check:
	@tests/bed/check.sh
