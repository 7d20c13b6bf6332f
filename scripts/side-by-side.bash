# Sourced: jobs that run side by side. What one prints is shown whole when it ends, and how long it took; the end says what
# failed and which jobs were the slowest.
#   SDG_JOBS  how many at once; two more than there are processors, since most of them wait for containers and daemons

# jobs_begin DIRECTORY: where their output is kept until the end.
jobs_begin() {
    JOBS_DIRECTORY=$1 JOBS_AT_ONCE=${SDG_JOBS:-$(($(nproc) + 2))} JOBS_BEGUN=0 JOBS_RUNNING=0
    : >"$JOBS_DIRECTORY/faults"
    : >"$JOBS_DIRECTORY/times"
}

# job NAME SECONDS COMMAND…: begins it once there is room. One that takes longer has failed, with its output so far.
job() {
    if [ "$JOBS_RUNNING" -ge "$JOBS_AT_ONCE" ]; then
        wait -n || true
        JOBS_RUNNING=$((JOBS_RUNNING - 1))
    fi
    JOBS_BEGUN=$((JOBS_BEGUN + 1)) JOBS_RUNNING=$((JOBS_RUNNING + 1))
    job_run "$JOBS_BEGUN" "$@" &
}

job_run() {
    local output=$JOBS_DIRECTORY/$1.output name=$2 limit=$3 started=$SECONDS status=0 child
    shift 3
    timeout --kill-after=5 "$limit" "$@" >"$output" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child" && wait "$child"' TERM
    wait "$child" || status=$?
    local took=$((SECONDS - started))
    case $status in
    0) ;;
    124 | 137) fault "$name: still running after $limit s" ;;
    *) fault "$name: status $status" ;;
    esac
    # One at a time, so that no line is torn.
    {
        flock 9
        echo "--- $name"
        cat "$output"
        echo "--- $name: $took s"
        echo "$took $name" >>"$JOBS_DIRECTORY/times"
    } 9>"$JOBS_DIRECTORY/lock"
}

# fault WHAT: the run fails, and its last lines say of what.
fault() { echo "$1" >>"$JOBS_DIRECTORY/faults"; }

# jobs_finish: waits for those that run; fails if anything has.
jobs_finish() {
    wait
    JOBS_RUNNING=0
    [ "$(wc -l <"$JOBS_DIRECTORY/times")" -eq "$JOBS_BEGUN" ] || fault "of $JOBS_BEGUN jobs $(wc -l <"$JOBS_DIRECTORY/times") came to an end"
    [ ! -s "$JOBS_DIRECTORY/faults" ]
}

# jobs_slowest COUNT: seconds and name, a line each.
jobs_slowest() { sort -rn "$JOBS_DIRECTORY/times" | awk -v most="$1" 'NR <= most'; }

# jobs_end: for a trap; what still runs is ended, which may take some seconds.
jobs_end() {
    jobs -pr | xargs -r kill 2>/dev/null || true
    wait
}
