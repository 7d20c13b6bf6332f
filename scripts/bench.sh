#!/usr/bin/env bash
# All benchmarks, each beside a baseline of the same run: bench.sh DIST [PART…]
# A table on the terminal, target/bench/bench.json and bench.svg. Parts are named in scripts/bench/main.py.
set -euo pipefail
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
dist=$(cd "${1:?usage: bench.sh DIST [PART…]}" && pwd)
shift
[ "$(id -u)" -eq 0 ] || { echo "bench: containers and their cgroups need root" >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1
python3 "$PROJECT/scripts/bench/main.py" "$dist" "$PROJECT/target/bench" "$@"
