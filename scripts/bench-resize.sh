#!/usr/bin/env bash
# What a change of a running container takes: bench-resize.sh DIST
# `sdg slice resize` that halves the mask of a loop of kernels, which returns when the device has the mask and the process has said
# so, beside the same command where nothing changes. Medians of one run.
set -euo pipefail
export PROJECT SDG_DIST SDG_ROOTFS SDG_RUNTIME SDG_SIM_LOG
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
SDG_DIST=$(cd "${1:?usage: bench-resize.sh DIST}" && pwd)
SDG_ROOTFS=${SDG_CACHE:-/var/cache/sdg}/rootfs/rocm-7.2
SDG_RUNTIME=${SDG_RUNTIME:-runc}
[ "$(id -u)" -eq 0 ] || { echo "bench-resize: containers with device nodes need root" >&2; exit 1; }

if [ -z "${SDG_SYSROOT:-}" ]; then
    make --silent -C "$PROJECT/tests/e2e/programs"
    "$SDG_DIST/usr/bin/sdg-sim" rootfs --rocm 7.2 "$SDG_ROOTFS"
    SDG_SIM_LOG=$(mktemp /tmp/sdg-bench.XXXXXX)
    trap 'rm -f "$SDG_SIM_LOG"' EXIT
    "$SDG_DIST/usr/bin/sdg-sim" run --log "$SDG_SIM_LOG" -- "$0" "$SDG_DIST"
    exit
fi

. "$PROJECT/tests/e2e/slices.bash"
trap slices_teardown EXIT
slices_setup
container --name=sdg-resize-$ID --annotation=sdg.memory=4Gi --annotation=sdg.compute=444m /opt/sdg/hip-loop 2 >"$WORK/out" &
loop=$!
wait_for "the loop" grep -q '"looping"' "$WORK/out"
id=$(slices | jq -r '.[0].id')

# timed NAME COMPUTE: resizes, and notes the microseconds.
timed() {
    local started=${EPOCHREALTIME/./}
    sdg slice resize "$id" --compute "$2" >"$WORK/resized"
    echo "$((${EPOCHREALTIME/./} - started))" >>"$WORK/$1"
}
for _ in $(seq 25); do
    timed unchanged 444m
    timed halved 222m
    timed doubled 444m
done
engine kill --signal TERM "sdg-resize-$ID" >"$WORK/killed"
ended_with 0 "$loop"

median() { sort -n "$WORK/$1" | sed -n 13p; }
echo "sdg slice resize of a running container (medians of 25):"
awk -v base="$(median unchanged)" -v halved="$(median halved)" -v doubled="$(median doubled)" 'BEGIN {
    printf "  nothing changes       %7.2f ms\n", base / 1e3
    printf "  the mask is halved    %7.2f ms  %.2f x\n", halved / 1e3, halved / base
    printf "  and is back           %7.2f ms  %.2f x\n", doubled / 1e3, doubled / base
}'
