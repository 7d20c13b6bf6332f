#!/usr/bin/env bash
# Our CDI files, those in cdi/ and fresh ones of every kind, read by the reference implementation: cdi-reference.sh DIST
set -euo pipefail
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
dist=$(cd "${1:?usage: cdi-reference.sh DIST}" && pwd)
sdg=$dist/usr/bin/sdg
# A node has thousands of small files: in memory.
work=$(mktemp -d /dev/shm/sdg-cdi.XXXXXX)
trap 'rm -rf "$work"' EXIT

cargo build --locked --quiet --manifest-path "$PROJECT/tests/cdi-reference/Cargo.toml" \
    --target-dir "$PROJECT/target/cdi-reference"
reference=$PROJECT/target/cdi-reference/debug/cdi-reference

# generate PRESET: files of whole GPUs under both kinds, and of a named slice.
generate() {
    local options=(--sysroot "$work/$1" --state "$work/$1-state")
    "$dist/usr/bin/sdg-sim" node --preset "$1" "$work/$1"
    "$sdg" "${options[@]}" cdi generate
    "$sdg" "${options[@]}" cdi generate --kind amd.com/gpu
    "$sdg" "${options[@]}" slice create --name llama --memory 1Gi --compute 100m
}
{
    generate mi300x
    generate mi300x-8-cpx
} >"$work/log"

"$reference" "$PROJECT"/cdi/*.json "$work"/*/etc/cdi/*.json

# A check that accepts everything is none: a version that is too low for the content, and a field that nobody knows.
for wrong in 's/"cdiVersion": *"[^"]*"/"cdiVersion": "0.3.0"/' 's/"deviceNodes"/"deviceKnots"/'; do
    sed "$wrong" "$PROJECT/cdi/sdg-gpu.json" >"$work/wrong.json"
    if "$reference" "$work/wrong.json" >/dev/null 2>&1; then
        echo "cdi-reference: accepts what is wrong: $wrong" >&2
        exit 1
    fi
done
