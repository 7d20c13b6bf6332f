#!/usr/bin/env bash
# Runs the tests of the code that is unsafe or shared between threads under ThreadSanitizer and AddressSanitizer.
# The sanitizers' run-time libraries come with Rust, but the option is not stable: RUSTC_BOOTSTRAP lets a stable compiler
# take it. The standard library is built without: it is watched where its code is compiled into ours and where it calls
# libc, and what orders its own channels and counts is not seen, so those are left out of ThreadSanitizer's reports.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
export TSAN_OPTIONS ASAN_OPTIONS
unseen=$(mktemp)
trap 'rm -f "$unseen"' EXIT
printf 'race:%s\n' alloc::sync::Arc std::sync::mpmc >"$unseen"
# Some tests fork, and their children start threads.
TSAN_OPTIONS="suppressions=$unseen print_suppressions=0 die_after_fork=0"
ASAN_OPTIONS=detect_leaks=0
# Random tests find what they find without; under a sanitizer each case takes ten times as long.
export PROPTEST_CASES=32

# sanitize KIND PACKAGE…
sanitize() {
    local kind=$1 packages=()
    shift
    packages=("${@/#/--package=}")
    echo "--- ${kind^}Sanitizer: $*"
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$kind -Cunsafe-allow-abi-mismatch=sanitizer" \
        cargo test --locked --quiet --tests --target "$target" --target-dir "target/sanitize-$kind" "${packages[@]}"
}

sanitize thread sdg-abi sdg-shim-core
sanitize address sdg-abi sdg-shim-core sdg-notify
