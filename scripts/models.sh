#!/usr/bin/env bash
# Runs the models of the shim's shared words: every order of a small program's loads and stores, by loom. models.sh [TEST]
set -euo pipefail
cd "$(dirname "$0")/.."
# A build of its own: every crate is told of the cfg.
RUSTFLAGS="--cfg loom" CARGO_PROFILE_DEV_OPT_LEVEL=2 \
    cargo test --locked --quiet -p sdg-shim-core --test models --target-dir target/models -- "$@"
