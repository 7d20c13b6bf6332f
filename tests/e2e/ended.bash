# Loaded by whatever starts programs in the background and waits for what they do, or for their end.

# ended_with STATUS PID…: waits for them; fails, and says which, where one ended otherwise. (`wait` alone forgets how.)
ended_with() {
    local expected=${1:?a status} pid status
    shift
    : "${1:?a process}"
    for pid in "$@"; do
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq "$expected" ] || { echo "process $pid ended with $status (expected $expected)" >&2 && return 1; }
    done
}

# wait_for DESCRIPTION COMMAND…: until it succeeds, up to two minutes, which only a failure takes. What it prints is not shown.
wait_for() {
    local what=$1
    shift
    for _ in $(seq 1200); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    echo "waited in vain for $what" >&2
    return 1
}
