# Loaded by the tests of the simulator, which start it themselves (scripts/tests.sh sets these):
#   PROJECT  this repository, SDG_DIST  what `make build` laid out, SDG_ROOTFS  a root file system with ROCm $ROCM,
#   TINYGRAD  a directory with tinygrad

. "$PROJECT/tests/e2e/ended.bash"

SDG_SIM=$SDG_DIST/usr/bin/sdg-sim
E2E=$PROJECT/tests/e2e

# sim_run [OPTION…] -- CMD…: runs CMD in the root file system on a simulated node; what the devices see goes to $LOG.
# The test programs are in /programs, their sources in /sources, tinygrad in /tinygrad.
sim_run() {
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    BINDS="$PROJECT/target/e2e/bin /programs
$E2E/programs /sources
$TINYGRAD /tinygrad" "$SDG_SIM" run --log "$LOG" "${options[@]}" -- "$E2E/in-rootfs.sh" "$SDG_ROOTFS" "$@"
}

# field STEP KEY: a value of a program's step, from $output of bats's `run`.
field() {
    jq -r --arg step "$1" --arg key "$2" -R 'fromjson? | select(.step == $step) | .[$key]' <<<"$output"
}

# same WHAT ACTUAL EXPECTED: fails and shows both, with the program's output, unless they are equal.
same() {
    [ "$2" = "$3" ] && return
    echo "$1: $2, expected $3"
    tail -n 40 <<<"$output"
    return 1
}

# passed: fails, and shows the output, unless the last `run` ended well.
passed() {
    [ "$status" -eq 0 ] && return
    echo "status $status"
    tail -n 40 <<<"$output"
    return 1
}

# release_gpu PID ADDRESS: the word that the GPU waits for, in the memory of a raw-wait, becomes 0.
release_gpu() { head -c 8 /dev/zero | dd of="/proc/$1/mem" bs=1 seek="$2" conv=notrunc status=none; }
