# Loaded by the tests that run sliced containers. They run under `sdg-sim run` (scripts/tests.sh starts it):
#   SDG_SYSROOT  the simulated node, SDG_SIM_LOG  what its devices saw, SDG_RUNTIME  crun or runc, SDG_DIST, SDG_ROOTFS
. "$PROJECT/scripts/podman.bash"
. "$PROJECT/tests/e2e/ended.bash"

SDG=$SDG_DIST/usr/bin/sdg

slices_setup() {
    WORK=$(mktemp -d /tmp/sdg-test.XXXXXX)
    # Part of container names: a container that an earlier run left is not in the way.
    ID=${WORK##*.}
    STATE=$WORK/state
    OPTIONS=(--sysroot "$SDG_SYSROOT" --state "$STATE")
    HOOKS=$WORK/hooks
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}"
    LOG_START=$(wc -l <"$SDG_SIM_LOG")
}

slices_teardown() {
    local names=()
    mapfile -t names < <(cat "$WORK/names" 2>/dev/null)
    [ "${#names[@]}" -eq 0 ] ||
        podman_global "$SDG_RUNTIME" rm --force --time 0 --ignore "${names[@]}" >/dev/null 2>&1 || true
    rm -rf "$WORK"
}

sdg() { "$SDG" "${OPTIONS[@]}" "$@"; }

# container [PODMAN-OPTION…] COMMAND…: runs it in a container of the ROCm root file system.
# Every option that takes a value is written as --option=value.
container() {
    local options=()
    while [ "${1:0:2}" = -- ]; do
        options+=("$1")
        case $1 in --name=*) echo "${1#--name=}" >>"$WORK/names" ;; esac
        shift
    done
    podman_run "$SDG_RUNTIME" "$HOOKS" --rm "${options[@]}" --volume "$PROJECT/target/e2e/bin:/opt/sdg:ro" \
        --rootfs "${ROOTFS_FOR_TEST:-$SDG_ROOTFS}:O" "$@"
}

engine() { podman_global "$SDG_RUNTIME" "$@"; }

holds() { grep -q '"holding"' "$1"; }

# What the devices saw since the test began.
device_log() { tail -n "+$((LOG_START + 1))" "$SDG_SIM_LOG"; }

# The queues that live, each with the last mask that the device was told.
live_masks() {
    device_log | jq -sc '[.[] | select(.event == "queue_end") | [.pid, .queue]] as $gone
        | [.[] | select(.event == "mask") | select([.pid, .queue] as $queue | $gone | index([$queue]) | not)]
        | group_by([.pid, .queue]) | map(last)'
}

slices() { sdg slice list --json; }

no_slice_is_left() { [ "$(slices | jq length)" -eq 0 ]; }

# step NAME FIELD: a field of a program's output in $output.
step() { jq -rR "fromjson? | select(.step == \"$1\") | .$2" <<<"$output"; }

# get URL: what is there.
get() { python3 -c 'import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())' "$1"; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
