#!/usr/bin/env bash
# Checks licences, sources and duplicates of the dependencies with cargo-deny, built on first use into $SDG_CACHE.
set -euo pipefail
tools=${SDG_CACHE:-/var/cache/sdg}/tools
if ! command -v cargo-deny >/dev/null && [ ! -x "$tools/bin/cargo-deny" ]; then
    echo "Building cargo-deny into $tools (some minutes, once)"
    cargo install cargo-deny --locked --quiet --root "$tools"
fi
PATH=$tools/bin:$PATH
# The advisory database is not asked for: it lives on a host that an offline machine does not reach.
cargo deny --all-features check bans licenses sources
cargo deny --manifest-path tests/cdi-reference/Cargo.toml --config deny.toml check licenses sources
