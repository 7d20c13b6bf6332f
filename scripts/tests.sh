#!/usr/bin/env bash
# All tests, side by side; the end-to-end ones with real engines, real ROCm and simulated GPUs:
#   tests.sh DIST here [FILE.bats…]   the workspace's tests, and this machine's engines with one ROCm release
#   tests.sh DIST matrix              the engines of other Debian suites, the older ROCm releases, the packages, the long runs
#   tests.sh DIST FILE.bats…          some end-to-end files alone, on this machine's Podman
# Files that are named run with the runtime SDG_RUNTIME (runc). Each file has a machine of its own, as far as tests can tell
# (own-machine.sh), and a node of its own.
set -euo pipefail
export APPLICATIONS PROJECT SDG_BASE SDG_DIST SDG_PACKAGES SDG_ROOTFS SDG_RUNTIME SDG_SIM_LOG TINYGRAD ROCM
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
SDG_DIST=$(cd "${1:?usage: tests.sh DIST here|matrix|FILE.bats…}" && pwd)
what=${2:?usage: tests.sh DIST here|matrix|FILE.bats…}
shift
SDG_PACKAGES=$PROJECT/target/packages
cache=${SDG_CACHE:-/var/cache/sdg}
sim=$SDG_DIST/usr/bin/sdg-sim
[ "$(id -u)" -eq 0 ] || { echo "tests: containers with device nodes need root" >&2; exit 1; }

work=$(mktemp -d /tmp/sdg-e2e.XXXXXX)
TINYGRAD=$work/tinygrad
APPLICATIONS=$cache/applications
. "$PROJECT/scripts/side-by-side.bash"
jobs_begin "$work"
trap 'jobs_end; rm -rf "$work"' EXIT
suite=$PROJECT/scripts/suite.sh

# use_rocm RELEASE: for the files that follow.
use_rocm() {
    ROCM=$1
    SDG_ROOTFS=$cache/rootfs/rocm-$ROCM
}

# What is large and made once, before anything needs it.
make_rootfs() { job "root file system with ROCm $1" 1200 "$sim" rootfs "$cache/rootfs/rocm-$1" --rocm "$1"; }
make_suite() { job "root file system of Debian $1" 1200 "$suite" "$1" true; }

# Debian does not package it; some seconds.
make_tinygrad() { job tinygrad 600 python3 -m pip install --quiet --no-deps --no-compile --target "$TINYGRAD" tinygrad==0.14.0; }

# llama.cpp, PyOpenCL and hip-python: half a gigabyte is fetched.
make_applications() { job "applications" 1200 "$PROJECT/scripts/applications.sh" "$APPLICATIONS"; }

# What the agent's image needs of the Debian that it begins with.
make_base() {
    local base
    base=$(sed -n 's/^ARG BASE=debian:\(.*\)-slim$/\1/p' "$PROJECT/packaging/Containerfile")
    SDG_BASE=$cache/images/debian-$base.tar
    [ -e "$SDG_BASE" ] || job "tar file of Debian $base" 600 "$PROJECT/scripts/debian-root.sh" "$base" "$SDG_BASE" \
        --variant=extract --include=base-files,libc6,coreutils,dash --format=tar
}

# run_file FILE WHERE [COMMAND…]: a file of tests, by way of a command, on the simulated node that its first line names;
# a file that names none starts its own.
run_file() {
    local file=$PROJECT/tests/e2e/$1 where=$2 preset
    shift 2
    preset=$(sed -n '1s/^# preset: //p' "$file")
    local command=("$PROJECT/scripts/own-machine.sh" "$@")
    if [ -n "$preset" ]; then
        SDG_SIM_LOG=$(mktemp "$work/log.XXXXXX")
        command+=("$sim" run --preset "$preset" --log "$SDG_SIM_LOG" --)
    fi
    job "$(basename "$file"), ROCm $ROCM, $where" 900 "${command[@]}" prove --verbose --exec bats "$file"
}

on_podman() { run_file "$1" "Podman of this machine with $SDG_RUNTIME"; }

# The slowest first, so that none is alone at the end.
run_here() {
    SDG_RUNTIME=runc
    on_podman adversaries.bats
    for SDG_RUNTIME in runc crun; do
        on_podman rootless.bats
        on_podman live.bats
        on_podman podman.bats
        on_podman hostile.bats
        on_podman sim_podman.bats
        run_file crio-hooks.bats "$SDG_RUNTIME of this machine"
        on_podman podman-cdi.bats
        on_podman node.bats
        on_podman guard.bats
    done
    run_file simulator.bats "in a chroot"
    run_file boards.bats "in a chroot"
    on_podman upgrade.bats
    on_podman top.bats
}

run_files() {
    SDG_RUNTIME=${SDG_RUNTIME:-runc}
    for file; do on_podman "$file"; done
}

run_matrix() {
    # Alone: it counts the cgroups, which are the machine's.
    SDG_RUNTIME=runc
    on_podman soak.bats
    jobs_finish || true
    job "sanitizers" 1800 "$PROJECT/scripts/sanitize.sh"
    job "models" 1800 "$PROJECT/scripts/models.sh"
    # Always the same bytes: what fails here is of the change, not of chance.
    job "fuzzing" 1800 env FUZZ_SEED=1 "$PROJECT/scripts/fuzz.sh" 4
    job "CDI's reference implementation" 1800 "$PROJECT/scripts/cdi-reference.sh" "$SDG_DIST"
    SDG_RUNTIME=crun
    on_podman adversaries.bats
    SDG_RUNTIME=runc
    run_file nri_killed.bats "pods of containerd of Debian sid" "$suite" sid
    for SDG_RUNTIME in crun runc; do
        run_file hostile_bundles.bats "$SDG_RUNTIME of this machine"
    done
    for debian in bookworm trixie sid; do
        run_file readme.bats "Debian $debian" "$suite" "$debian"
        run_file containerd.bats "containerd of Debian $debian" "$suite" "$debian"
    done
    for debian in trixie sid; do
        run_file nri.bats "pods of containerd of Debian $debian" "$suite" "$debian"
        run_file docker.bats "Docker of Debian $debian" "$suite" "$debian"
        run_file examples.bats "Podman and Docker of Debian $debian" "$suite" "$debian"
        for SDG_RUNTIME in runc crun; do
            run_file podman.bats "Podman of Debian $debian with $SDG_RUNTIME" "$suite" "$debian"
            run_file podman-cdi.bats "Podman of Debian $debian with $SDG_RUNTIME" "$suite" "$debian"
        done
    done
    SDG_RUNTIME=runc
    for release in 6.4 6.1; do
        use_rocm "$release"
        run_file simulator.bats "in a chroot"
        on_podman podman.bats
        on_podman sim_podman.bats
    done
    use_rocm 7.2
    for SDG_RUNTIME in crun runc; do
        on_podman applications.bats
    done
    on_podman image.bats
    run_file metrics.bats "Prometheus and Podman of Debian trixie" "$suite" trixie
    run_file rpm.bats "rpm of this machine"
    run_file completions.bats "shells of this machine"
    job shim-loads.sh 600 "$PROJECT/scripts/shim-loads.sh" "$SDG_DIST"
    # Only where scripts/dmem-kernel.sh has built one: that takes longer than all the rest.
    if [ -e "$cache/dmem-kernel/bzImage" ]; then
        # crun, for which hooks have to enable the controller; an emulated machine takes minutes.
        SDG_RUNTIME=crun
        "$PROJECT/scripts/packages.sh" kernel
        run_file dmem.bats "a kernel with dmem, with $SDG_RUNTIME" "$PROJECT/scripts/dmem-vm.sh"
    fi
}

# What the end of a long output should say: what failed, what took longest, and how many tests there were.
summary() {
    cat "$work"/*.output | grep -E '^(not )?ok [0-9]' >"$work/results" || true
    if [ -n "${SDG_NO_SKIP:-}" ] && grep -q '^ok .* # skip' "$work/results"; then
        fault "tests were skipped that should have run"
        grep '^ok .* # skip' "$work/results"
    fi
    echo "The slowest, in seconds:"
    jobs_slowest 10 | sed 's/^/  /'
    if [ -s "$work/faults" ]; then
        echo "Failed:"
        cat "$work/faults"
        grep '^not ok' "$work/results" || true
        grep -hE '^test .* FAILED$' "$work"/*.output || true
    fi
    echo "$(grep '^ok' "$work/results" | grep -vc '# skip') passed, $(grep -c '^not ok' "$work/results") failed, $(grep -c '^ok .* # skip' "$work/results") skipped"
}

make --silent -C "$PROJECT/tests/e2e/programs"
echo "Making what tests need and is made once, under $cache"
make_rootfs 7.2
make_tinygrad
if [ "$what" = matrix ]; then
    for release in 6.4 6.1; do make_rootfs "$release"; done
    for debian in bookworm trixie sid; do make_suite "$debian"; done
    make_base
fi
case " $* " in *" matrix "* | *" applications.bats "*) make_applications ;; esac
jobs_finish || { summary; exit 1; }

use_rocm 7.2
case $what in
here)
    job "the workspace's tests" 1800 cargo test --locked --workspace --no-fail-fast
    shift
    if [ $# -gt 0 ]; then run_files "$@"; else run_here; fi
    ;;
matrix) run_matrix ;;
*) run_files "$@" ;;
esac
jobs_finish || true
summary
[ ! -s "$work/faults" ]
