#!/usr/bin/env bash
# Runs the tests of the layouts and of the compute masks in Miri, which interprets them and stops at undefined behaviour.
# Miri is a component of rustup's nightly toolchain and no part of a stable one; CI does not run it.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "make miri: Miri is missing: rustup toolchain install nightly --component miri,rust-src" >&2
    exit 1
fi
# Several orders of the threads.
MIRIFLAGS="-Zmiri-many-seeds=0..8" cargo +nightly miri test --locked -p sdg-abi --target-dir target/miri --test layout
cargo +nightly miri test --locked -p sdg --lib --target-dir target/miri -- compute::
