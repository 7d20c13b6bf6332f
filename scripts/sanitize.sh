#!/usr/bin/env bash
# Runs the tests of the code that is unsafe or shared between threads under ThreadSanitizer and AddressSanitizer:
#   sanitize.sh [thread|address]
# The sanitizers' run-time libraries come with Rust, but the option is not stable: RUSTC_BOOTSTRAP lets a stable compiler
# take it. The standard library is Rust's own, built without: what it does with memory is seen only where it calls libc.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu

# sanitize KIND CARGO-OPTION…
sanitize() {
    local kind=$1
    shift
    echo "--- $kind: $*"
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$kind -Cunsafe-allow-abi-mismatch=sanitizer" \
        cargo test --locked --quiet --target "$target" --target-dir "target/sanitize-$kind" "$@"
}
