#!/usr/bin/env bash
# What the guard costs a call: bench-guard.sh DIST
# The same ioctls on the same device in a container without the guard and in one with it, on this machine's own kernel.
set -euo pipefail
export PROJECT SDG_DIST SDG_ROOTFS SDG_RUNTIME
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
SDG_DIST=$(cd "${1:?usage: bench-guard.sh DIST}" && pwd)
SDG_ROOTFS=${SDG_CACHE:-/var/cache/sdg}/rootfs/rocm-7.2
SDG_RUNTIME=${SDG_RUNTIME:-runc}
[ "$(id -u)" -eq 0 ] || { echo "bench-guard: containers with device nodes need root" >&2; exit 1; }

make --silent -C "$PROJECT/tests/e2e/programs"
"$SDG_DIST/usr/bin/sdg-sim" rootfs --rocm 7.2 "$SDG_ROOTFS"
. "$PROJECT/tests/e2e/guarded.bash"
trap guarded_teardown EXIT
guarded_setup /dev/full

# times OPTION…: nanoseconds of an ioctl that is not guarded, and of one that is.
# By way of a shell: a container that begins with a static program is refused a slice that only the shim would hold.
times() { container "$@" /bin/sh -c "exec /opt/sdg/raw-guarded time $GPU_ID" | jq -r '[.unguarded, .guarded] | @tsv'; }

read -r without_unguarded without_guarded < <(times "${SLICE[@]}")
read -r with_unguarded with_guarded < <(times "${GUARDED[@]}")
echo "The guard, with $SDG_RUNTIME and the engine's own seccomp profile:"
awk -v a="$without_unguarded" -v b="$with_unguarded" -v c="$without_guarded" -v d="$with_guarded" 'BEGIN {
    printf "  an ioctl that is not guarded  %8.3f µs without, %8.3f with: %+.3f µs (%.2f x)\n", a / 1e3, b / 1e3, (b - a) / 1e3, b / a
    printf "  a guarded one                 %8.3f µs without, %8.3f with: %+.3f µs (%.2f x)\n", c / 1e3, d / 1e3, (d - c) / 1e3, d / c
}'
