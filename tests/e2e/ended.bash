# Loaded by whatever starts programs in the background.

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
