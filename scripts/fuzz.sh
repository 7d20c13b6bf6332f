#!/usr/bin/env bash
# What reads bytes that others write, under libFuzzer, two targets at a time: fuzz.sh SECONDS [TARGET…]
# Begins with the corpus in fuzz/corpus, in which every earlier finding is, and goes on from what target/fuzz found before;
# with FUZZ_SEED a number, by always the same steps.
set -euo pipefail
seconds=${1:?usage: fuzz.sh SECONDS [TARGET…]}
shift
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
"$PROJECT/scripts/packages.sh" fuzz
work=$PROJECT/target/fuzz
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(ls "$PROJECT/fuzz/corpus")

# What cargo-fuzz passes for coverage, all of which a stable compiler has. With --target they are not for build scripts.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing)
RUSTFLAGS="${flags[*]}" cargo build --locked --quiet --manifest-path "$PROJECT/fuzz/Cargo.toml" \
    --target x86_64-unknown-linux-gnu --target-dir "$work"
fuzzer=$work/x86_64-unknown-linux-gnu/debug/sdg-fuzz

# fuzz TARGET: runs one; its output is shown where it found something.
fuzz() {
    local log=$work/$1.log files
    files=$(mktemp -d /dev/shm/sdg-fuzz.XXXXXX)
    mkdir -p "$work/corpus/$1"
    if SDG_FUZZ_TARGET=$1 TMPDIR=$files "$fuzzer" -seed="${FUZZ_SEED:-0}" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$work/$1-" "$work/corpus/$1" "$PROJECT/fuzz/corpus/$1" >"$log" 2>&1; then
        echo "fuzz: $1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
            "$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | cut -d' ' -f2) places reached"
        rm -rf "$files"
    else
        rm -rf "$files"
        grep -vE '^#[0-9]+' "$log" | tail -n 40 >&2
        echo "fuzz: $1 failed; its bytes are in the file above: they belong into fuzz/corpus/$1 once it is mended" >&2
        return 1
    fi
}
export -f fuzz
export PROJECT work fuzzer seconds
printf '%s\n' "${targets[@]}" | xargs -P 2 -I '{}' bash -c 'fuzz {}'
