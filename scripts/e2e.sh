#!/usr/bin/env bash
# End-to-end tests: real engines, real ROCm, simulated GPUs.
#   e2e.sh DIST          on this machine's engines, with one ROCm release
#   e2e.sh DIST matrix   with the engines of other Debian suites and the older ROCm releases
set -euo pipefail
export PROJECT SDG_BASE SDG_DIST SDG_PACKAGES SDG_ROOTFS SDG_RUNTIME SDG_SIM_LOG ROCM
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
SDG_DIST=$(cd "${1:?usage: e2e.sh DIST [matrix]}" && pwd)
SDG_PACKAGES=$PROJECT/target/packages
cache=${SDG_CACHE:-/var/cache/sdg}
sim=$SDG_DIST/usr/bin/sdg-sim
[ "$(id -u)" -eq 0 ] || { echo "e2e: containers with device nodes need root" >&2; exit 1; }

work=$(mktemp -d /tmp/sdg-e2e.XXXXXX)
trap 'rm -rf "$work"' EXIT
: >"$work/results"
: >"$work/faults"

use_rocm() {
    ROCM=$1
    SDG_ROOTFS=$cache/rootfs/rocm-$ROCM
    "$sim" rootfs "$SDG_ROOTFS" --rocm "$ROCM"
}

# use_base: what the agent's image needs of the Debian that it begins with.
use_base() {
    local suite
    suite=$(sed -n 's/^ARG BASE=debian:\(.*\)-slim$/\1/p' "$PROJECT/packaging/Containerfile")
    SDG_BASE=$cache/images/debian-$suite.tar
    [ -e "$SDG_BASE" ] || "$PROJECT/scripts/debian-root.sh" "$suite" "$SDG_BASE" --variant=extract \
        --include=base-files,libc6,coreutils,dash --format=tar
}

# run_file FILE WHERE [COMMAND…]: a file of tests, by way of a command, on the simulated node that its first line names;
# a file that names none starts its own.
run_file() {
    local file=$PROJECT/tests/e2e/$1 where=$2 preset started=$SECONDS
    shift 2
    preset=$(sed -n '1s/^# preset: //p' "$file")
    local command=("$@")
    if [ -n "$preset" ]; then
        SDG_SIM_LOG=$(mktemp "$work/log.XXXXXX")
        command+=("$sim" run --preset "$preset" --log "$SDG_SIM_LOG" --)
    fi
    echo "--- $(basename "$file"), ROCm $ROCM, $where"
    # A file that hangs is a failure with its output so far, not a run that never ends.
    "${command[@]}" timeout --kill-after=5 600 prove --verbose --exec bats "$file" >"$work/output" 2>&1 </dev/null ||
        fault "$(basename "$file"), ROCm $ROCM, $where"
    cat "$work/output"
    echo "--- $((SECONDS - started)) s"
    grep -E '^(not )?ok [0-9]' "$work/output" >>"$work/results" || true
    if [ -n "${SDG_NO_SKIP:-}" ] && grep -q '^ok .* # skip' "$work/output"; then
        fault "$(basename "$file"): a test was skipped that should have run"
    fi
}

# fault WHAT: the run fails, and its last lines say of what.
fault() { echo "$1" >>"$work/faults"; }

# What the end of a long output should say: what failed, and how many there were.
summary() {
    if [ -s "$work/faults" ]; then
        echo "e2e: failed:"
        cat "$work/faults"
        grep '^not ok' "$work/results" || true
    fi
    echo "$(grep '^ok' "$work/results" | grep -vc '# skip') passed, $(grep -c '^not ok' "$work/results") failed, $(grep -c '^ok .* # skip' "$work/results") skipped"
}

make --silent -C "$PROJECT/tests/e2e/programs"
if [ "${2:-}" != matrix ]; then
    use_rocm 7.2
    run_file simulator.bats "in a chroot"
    run_file boards.bats "in a chroot"
    for SDG_RUNTIME in runc crun; do
        run_file rootless.bats "Podman of ordinary users with $SDG_RUNTIME"
        run_file podman.bats "Podman of this machine with $SDG_RUNTIME"
        run_file podman-cdi.bats "Podman of this machine with $SDG_RUNTIME"
        run_file live.bats "Podman of this machine with $SDG_RUNTIME"
        run_file hostile.bats "Podman of this machine with $SDG_RUNTIME"
        run_file crio-hooks.bats "$SDG_RUNTIME of this machine"
        run_file node.bats "Podman of this machine with $SDG_RUNTIME"
        run_file sim_podman.bats "Podman of this machine with $SDG_RUNTIME"
        # With crun in the matrix: they take a minute.
        [ "$SDG_RUNTIME" = crun ] || run_file adversaries.bats "Podman of this machine with $SDG_RUNTIME"
        run_file guard.bats "Podman of this machine with $SDG_RUNTIME"
    done
    run_file upgrade.bats "Podman of this machine with $SDG_RUNTIME"
    run_file top.bats "tmux, Podman of this machine with $SDG_RUNTIME"
    run_file metrics.bats "Prometheus, Podman of this machine with $SDG_RUNTIME"
else
    for release in 6.4 6.1; do
        use_rocm "$release"
        SDG_RUNTIME=runc
        run_file simulator.bats "in a chroot"
        run_file podman.bats "Podman of this machine with $SDG_RUNTIME"
        run_file sim_podman.bats "Podman of this machine with $SDG_RUNTIME"
    done
    use_rocm 7.2
    SDG_RUNTIME=crun
    run_file adversaries.bats "Podman of this machine with $SDG_RUNTIME"
    for SDG_RUNTIME in crun runc; do
        run_file hostile_bundles.bats "$SDG_RUNTIME of this machine"
    done
    run_file soak.bats "Podman of this machine with $SDG_RUNTIME"
    for suite in trixie sid; do
        for SDG_RUNTIME in runc crun; do
            run_file podman.bats "Podman of Debian $suite with $SDG_RUNTIME" \
                "$PROJECT/scripts/suite.sh" "$suite"
            run_file podman-cdi.bats "Podman of Debian $suite with $SDG_RUNTIME" \
                "$PROJECT/scripts/suite.sh" "$suite"
        done
    done
    for suite in bookworm trixie sid; do
        run_file containerd.bats "containerd of Debian $suite" \
            "$PROJECT/scripts/engine-suite.sh" "$suite"
    done
    # Only where scripts/dmem-kernel.sh has built one: that takes longer than all the rest.
    if [ -e "$cache/dmem-kernel/bzImage" ]; then
        # crun, for which hooks have to enable the controller; an emulated machine takes minutes.
        SDG_RUNTIME=crun
        "$PROJECT/scripts/packages.sh" kernel
        run_file dmem.bats "a kernel with dmem, with $SDG_RUNTIME" "$PROJECT/scripts/dmem-vm.sh"
    fi
    "$PROJECT/scripts/shim-loads.sh" "$SDG_DIST" || fault "shim-loads.sh"
    run_file rpm.bats "rpm of this machine"
    run_file completions.bats "shells of this machine"
    SDG_RUNTIME=runc
    use_base
    run_file image.bats "Podman of this machine with $SDG_RUNTIME"
    for suite in bookworm trixie sid; do
        run_file readme.bats "Debian $suite, fresh" "$PROJECT/scripts/suite.sh" --fresh "$suite"
    done
    for suite in trixie sid; do
        run_file nri.bats "pods of containerd of Debian $suite" "$PROJECT/scripts/engine-suite.sh" "$suite"
    done
    run_file nri_killed.bats "pods of containerd of Debian sid" "$PROJECT/scripts/engine-suite.sh" sid
    for suite in trixie sid; do
        run_file docker.bats "Docker of Debian $suite" \
            "$PROJECT/scripts/engine-suite.sh" "$suite"
        run_file examples.bats "Podman and Docker of Debian $suite" \
            "$PROJECT/scripts/engine-suite.sh" "$suite"
    done
fi
summary
[ ! -s "$work/faults" ]
