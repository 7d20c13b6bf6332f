#!/usr/bin/env bash
# Says in one line what is missing when there is no Rust, or one that is too old.
set -euo pipefail
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if ! command -v cargo >/dev/null || ! have=$(rustc --version 2>/dev/null | cut -d' ' -f2); then
    echo "make: no cargo and rustc in PATH (expected $wanted or later): install Rust with rustup" >&2
    exit 1
fi
if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
    echo "make: rustc $have is too old (expected $wanted or later): install Rust with rustup" >&2
    exit 1
fi
