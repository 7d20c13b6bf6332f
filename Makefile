# The commands of a newcomer (demo, test), of CI and of a packager. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

TARGET := x86_64-unknown-linux-gnu
DIST := target/dist
PACKAGES := target/packages
DESTDIR ?=
CARGO ?= cargo
# Programs do not say where they were built, so that the same commit gives the same bytes anywhere.
CARGO_HOME ?= $(HOME)/.cargo
REMAP := --remap-path-prefix=$(CURDIR)=/usr/src/sdg --remap-path-prefix=$(CARGO_HOME)=/usr/src/cargo
# Large things made on first use: root file systems with ROCm, tools.
export SDG_CACHE ?= /var/cache/sdg

.PHONY: help build demo test test-matrix test-machine test-all fuzz sanitize miri bench lint install dist reproducible clean check-rust

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

check-rust:
	@scripts/check-rust.sh

build: check-rust ## build everything and lay it out under target/dist/
	@scripts/packages.sh build
	RUSTFLAGS="$(REMAP)" $(CARGO) build --locked --release -p sdg-shim -p sdg-sim -p sdg-agent -p sdg-manual
	RUSTFLAGS="$(REMAP) -C target-feature=+crt-static" $(CARGO) build --locked --release --target $(TARGET) -p sdg
	@scripts/layout.sh $(TARGET) $(DIST)

demo: build ## run two slices side by side in Podman, on this machine's AMD GPU or on a simulated MI300X
	@scripts/packages.sh demo
	@scripts/demo.sh $(DIST)

test: build ## run all tests that this machine's own Debian suite and one ROCm release can show; of the end-to-end ones E2E="podman.bats …" alone
	@scripts/packages.sh test
	@scripts/portability.sh $(DIST)
	@SDG_RELEASE_RUSTFLAGS="$(REMAP)" scripts/tests.sh $(DIST) here $(E2E)

test-matrix: dist ## add the other ROCm releases and Debian suites' engines, the packages, and the long runs
	@scripts/packages.sh matrix
	@scripts/packages.sh fuzz
	@scripts/tests.sh $(DIST) matrix

test-machine: dist ## run the package, systemd's units, Podman, rootless and Docker on an emulated machine with systemd and cgroup v2
	@scripts/packages.sh machine
	@scripts/machine.sh $(DIST) $(PACKAGES)

test-all: test test-matrix test-machine ## run every test that there is

FUZZ_SECONDS ?= 60
fuzz: check-rust ## fuzz all that reads bytes of others, FUZZ_SECONDS (60) each; FUZZ_TARGETS="a b" for some
	@scripts/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

sanitize: check-rust ## models of the shim's shared words, and unsafe code under ThreadSanitizer and AddressSanitizer
	@scripts/packages.sh build
	@scripts/models.sh
	@scripts/sanitize.sh

miri: ## run the tests of layouts and compute masks in Miri, where rustup has it
	@scripts/miri.sh

bench: build ## print times as ratios to a baseline of the same run; BENCH=precreate (containers, loading, cargo) for a part
	@scripts/packages.sh bench
	@RUSTFLAGS="$(REMAP)" scripts/bench.sh $(DIST) $(BENCH)
	@scripts/bench-sim.sh $(DIST)
	@scripts/bench-guard.sh $(DIST)
	@scripts/bench-resize.sh $(DIST)

lint: check-rust ## formatting, lints, licences
	@scripts/packages.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@scripts/deny.sh

dist: build ## make the deb, the rpm and a tar file of target/dist/ under target/packages/
	@scripts/packages.sh dist
	@scripts/dist.sh $(DIST) $(PACKAGES)

reproducible: dist ## build everything a second time elsewhere: the packages must be the same
	@scripts/reproducible.sh $(DIST) $(PACKAGES)

install: ## put target/dist/ in place, under DESTDIR if given; a configuration that is there stays
	@test -x $(DIST)/usr/bin/sdg || { echo "make install: nothing is built yet; run make build first" >&2; exit 1; }
	mkdir -p "$(DESTDIR)/"
	@# New files, never new bytes in old ones: running containers have the shim mapped.
	cp -a --no-preserve=ownership --remove-destination $(DIST)/usr "$(DESTDIR)/"
	cp -a --no-preserve=ownership --no-clobber $(DIST)/etc "$(DESTDIR)/"

clean: ## remove what was built
	$(CARGO) clean
