# Loaded where the guard stands on the machine's own kernel, without a simulator: a node's files, and another device in the
# KFD's place. What a real engine, a real seccomp filter and the agent do is seen as it is; an ioctl that the guard lets go
# on ends at the device with ENOTTY.

# guarded_setup DEVICE: files of a node whose KFD has a device's number, and slices on it.
guarded_setup() {
    SDG_SYSROOT=$(mktemp -d /tmp/sdg-node.XXXXXX)
    SDG_SIM_LOG=/dev/null
    "$SDG_DIST/usr/bin/sdg-sim" node --preset mi300x "$SDG_SYSROOT"
    # An ordinary file in its place: its number is the one that sysfs says.
    rm "$SDG_SYSROOT/dev/kfd" && touch "$SDG_SYSROOT/dev/kfd"
    stat -c '%Hr:%Lr' "$1" >"$SDG_SYSROOT/sys/class/kfd/kfd/dev"
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    GPU_ID=$(sdg gpu list --json | jq '.[0].gpu_id')
    "$SDG_DIST/usr/bin/sdg-agent" "${OPTIONS[@]}" run >"$WORK/agent.log" 2>&1 &
    AGENT=$!
    wait_for "the agent's socket" test -S "$STATE/guard.sock"
}

guarded_teardown() {
    [ -z "${AGENT:-}" ] || { kill "$AGENT" && wait "$AGENT" || true; }
    slices_teardown
    rm -rf "$SDG_SYSROOT"
}

SLICE=(--annotation=sdg.memory=20Gi --annotation=sdg.compute=250m)
GUARDED=("${SLICE[@]}" --annotation=sdg.enforcement=guarded)
