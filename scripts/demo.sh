#!/usr/bin/env bash
# The main job, shown: two containers with a slice of one GPU side by side, and a third that does not fit.
#   demo.sh DIST            on the machine's AMD GPU, else on a simulated MI300X
#   demo.sh DIST SYSROOT    the same, on the GPUs of a system root (what the first form starts under sdg-sim)
set -euo pipefail
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
dist=$(cd "${1:?usage: demo.sh DIST [SYSROOT]}" && pwd)
sysroot=${2:-/}
sdg=$dist/usr/bin/sdg
rootfs=${SDG_CACHE:-/var/cache/sdg}/rootfs/rocm-7.2
program=$PROJECT/target/e2e/bin/hip-demo
. "$PROJECT/scripts/podman.bash"

bold= plain=
[ ! -t 1 ] || { bold=$'\033[1m' plain=$'\033[0m'; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '  $ %s\n' "$*"; }

if [ "$#" -eq 1 ]; then
    "$dist/usr/bin/sdg-sim" rootfs "$rootfs" --rocm 7.2
    make -s -C "$PROJECT/tests/e2e/programs" demo
    if [ -e /dev/kfd ] && [ "$("$sdg" gpu list --json | jq length)" -gt 0 ]; then
        title "This machine has AMD GPUs: the demo runs on them."
    else
        title "This machine has no AMD GPU: the demo runs on a simulated MI300X (192 GB, 304 compute units)."
        # shellcheck disable=SC2016
        exec "$dist/usr/bin/sdg-sim" run --preset mi300x -- bash -c 'exec "$1" "$2" "$SDG_SYSROOT"' demo "$0" "$dist"
    fi
fi

# Unlike Debian 12's crun, it runs with every mix of cgroups.
runtime=runc
work=$(mktemp -d /tmp/sdg-demo.XXXXXX)
state=/run/sdg
[ "$sysroot" = / ] || state=$work/state
options=(--sysroot "$sysroot" --state "$state")
write_hooks "$sdg" "$work/hooks" "${options[@]}"

remove_containers() {
    podman_global "$runtime" rm --force --time 0 --ignore sdg-demo-one sdg-demo-two sdg-demo-three >/dev/null 2>&1 || true
}
trap 'remove_containers; rm -rf "$work"' EXIT
# What a demo that was killed has left.
remove_containers

# container NAME ANNOTATION…: a container of the demo's program, in the background; its output is in $work/NAME.
container() {
    local name=$1 annotations=()
    shift
    for annotation in "$@"; do annotations+=(--annotation "$annotation"); done
    show "podman run ${annotations[*]} IMAGE hip-demo"
    podman_run "$runtime" "$work/hooks" --rm --name "$name" "${annotations[@]}" \
        --volume "$PROJECT/target/e2e/bin:/opt/sdg:ro" --rootfs "$rootfs:O" /opt/sdg/hip-demo >"$work/$name" 2>"$work/$name.errors"
}

title "The GPUs here"
show "sdg gpu list"
"$sdg" "${options[@]}" gpu list

title "Two containers side by side, each with 20 GiB and a quarter of the compute units"
container sdg-demo-one sdg.memory=20Gi sdg.compute=250m &
first=$!
container sdg-demo-two sdg.memory=20Gi sdg.compute=250m &
second=$!
# Each program holds its memory until its container is told to stop.
for name in sdg-demo-one sdg-demo-two; do
    for _ in $(seq 600); do
        grep -q 'holding' "$work/$name" 2>/dev/null && break
        sleep 0.1
    done
    printf '\n  what the program in %s sees:\n' "$name"
    sed 's/^/    /' "$work/$name"
    grep -q 'holding' "$work/$name" || {
        cat "$work/$name.errors" >&2
        echo "demo: $name did not come so far" >&2
        exit 1
    }
done

title "The slices, while both run"
show "sdg slice list"
"$sdg" "${options[@]}" slice list

title "A third container asks for more than is left"
if container sdg-demo-three sdg.memory=180Gi sdg.compute=250m; then
    echo "demo: the third container should have been refused" >&2
    exit 1
fi
sed 's/^/    /' "$work/sdg-demo-three.errors"

title "The first two end; nothing is left"
for name in sdg-demo-one sdg-demo-two; do podman_global "$runtime" kill --signal TERM "$name" >/dev/null; done
wait "$first" "$second" || true
show "sdg slice list"
"$sdg" "${options[@]}" slice list
[ "$("$sdg" "${options[@]}" slice list --json | jq length)" -eq 0 ] || { echo "demo: a slice is left" >&2; exit 1; }
title "Done."
