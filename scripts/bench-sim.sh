#!/usr/bin/env bash
# What HIP's calls cost on the simulator: bench-sim.sh DIST
# Medians, each beside that of an ioctl which the simulator lets through, taken in the same run.
set -euo pipefail
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
dist=$(cd "${1:?usage: bench-sim.sh DIST}" && pwd)
sim=$dist/usr/bin/sdg-sim
rootfs=${SDG_CACHE:-/var/cache/sdg}/rootfs/rocm-7.2
[ "$(id -u)" -eq 0 ] || { echo "bench-sim: sdg-sim run needs root" >&2; exit 1; }

make --silent -C "$PROJECT/tests/e2e/programs"
"$sim" rootfs --rocm 7.2 "$rootfs"
medians=$(BINDS="$PROJECT/target/e2e/bin /programs" \
    "$sim" run -- "$PROJECT/tests/e2e/in-rootfs.sh" "$rootfs" /programs/hip-bench)
echo "sdg-sim, ROCm 7.2 (medians):"
jq -r 'to_entries[] | select(.key != "step") | [.key, .value] | @tsv' <<<"$medians" |
    awk -v base="$(jq .ioctl <<<"$medians")" \
        '{ printf "  %-14s %7.1f µs  %4.1f x an ioctl of /dev/null below the simulator\n", $1, $2 / 1000, $2 / base }'
