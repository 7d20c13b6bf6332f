# preset: mi300x-8
# Containers come and go, 16 at a time, with random slices, resizes and kills: nothing is given twice while they do, and at the
# end everything is where it began. SOAK_STARTS says how many (2000 for the long run).

SOAK_STARTS=${SOAK_STARTS:-96}
CALLERS=16

setup() {
    . "$PROJECT/tests/e2e/shares.bash" && . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    echo 'metrics = "127.0.0.1:0"' >"$WORK/config.toml"
    "$SDG_DIST/usr/bin/sdg-agent" "${OPTIONS[@]}" --config "$WORK/config.toml" run >"$WORK/agent.log" 2>&1 3>&- &
    AGENT=$!
    wait_for "the agent's socket" test -S "$STATE/guard.sock"
}

teardown() {
    kill "$AGENT" 2>/dev/null || true
    slices_teardown
}

# pick WORD…: one of them.
pick() {
    shift $((RANDOM % $#))
    echo "$1"
}

slice_of() { slices | jq -re --arg pid "$1" 'map(select(.pid == ($pid | tonumber))) | .[0].id'; }

# What happens to a container while it runs; any of it may come too late, or not fit.
disturb() {
    local name=$1 pid container id
    read -r pid container < <(engine inspect --format '{{.State.Pid}} {{.Id}}' "$name" 2>/dev/null) || return 0
    case $(pick kill monitor resize resize stop) in
    kill) kill -9 "$pid" ;;
    # Podman itself would wait for ever for a conmon that was killed.
    monitor) echo "$container" >>"$WORK/unmonitored"
        pkill -9 -f "conmon .* -n $name " && pkill -9 -f "podman .* --name=$name " ;;
    resize) id=$(slice_of "$pid") && sdg slice resize "$id" --memory "$(pick 1 3 9)Gi" --compute "$(pick 100 250)m" ;;
    stop) engine kill --signal TERM "$name" ;;
    esac >/dev/null 2>&1 || true
}

# start NAME: a container that allocates what it may have or more, is disturbed or not, and is gone at the end.
start() {
    local name=$1 request=(--annotation="sdg.memory=$(pick 2 4 8 24)Gi") status=0 running
    request+=(--annotation="sdg.compute=$(pick 100 125 250 500)m" --annotation="sdg.placement=$(pick pack spread)")
    container --name="$name" "${request[@]}" /bin/sh -c "timeout --kill-after=1 $(pick 1 3 6) /opt/sdg/hip-hold $(pick 1G 3G 30G); exit \$?" \
        >"$WORK/$name" 2>&1 &
    running=$!
    [ $((RANDOM % 2)) -eq 0 ] || { sleep "0.$((RANDOM % 9))" && disturb "$name"; }
    wait "$running" || status=$?
    # A container whose monitor has just gone is not always removed at once.
    wait_for "the removal of $name" engine rm --force --time 0 --ignore "$name" >/dev/null 2>&1
    echo "$status"
}

caller() {
    local number
    for ((number = $1; number < SOAK_STARTS; number += CALLERS)); do start "sdg-soak-$ID-$number"; done
}

# What starting and stopping may leave somewhere: a line each.
traces() {
    find "$STATE" -mindepth 1 -printf '%p %y\n'
    find /sys/fs/cgroup -name '*libpod*' -type d
    awk '{ print $5 }' /proc/self/mountinfo
    find /run/sdg /run/crun /run/runc /run/libpod /run/containers -mindepth 1 2>/dev/null |
        grep -v '/tmp/persist\|libpod_lock\|/alive' || true
    find "/proc/$AGENT/fd" -mindepth 1 -printf '%l\n' | sed 's/[0-9]\{4,\}//g'
}

# Podman may remove a container whose conmon was killed without a word to the runtime, sdg or not.
sweep_unmonitored() {
    local container
    for container in $(cat "$WORK/unmonitored" 2>/dev/null); do
        "$SDG_RUNTIME" delete --force "$container" 2>/dev/null || true
    done
}

agent_kib() { awk '/^RssAnon/ { print $2 }' "/proc/$AGENT/status"; }

@test "containers by 16 callers with random slices, resizes and kills leave nothing behind" {
    # What the first start makes once is there before the count.
    for number in 1 2; do start "sdg-soak-$ID-first$number" >/dev/null; done
    sdg slice reap
    traces | sort >"$WORK/../$ID.before"
    kib=$(agent_kib)
    for number in $(seq 0 $((CALLERS - 1))); do caller "$number" >"$WORK/caller-$number" & callers+=($!); done
    most=0
    while kill -0 "${callers[@]}" 2>/dev/null; do
        nothing_is_given_twice
        seen=$(slices | jq length)
        [ "$seen" -le "$most" ] || most=$seen
        sleep 0.5
    done
    ended_with 0 "${callers[@]}"
    # 139 among the statuses is HIP's own: a resize had left it no memory for its first queue (README).
    # A container whose conmon was killed has no poststop: the reap finds it.
    sweep_unmonitored
    sdg slice reap
    wait_for "the last slice to be gone" no_slice_is_left
    echo "# $(cat "$WORK"/caller-* | wc -l) starts, at most $most slices at once; statuses:" \
        "$(cat "$WORK"/caller-* | sort -n | uniq -c | awk '{ printf "%s×%s ", $2, $1 }')" >&3
    [ "$(cat "$WORK"/caller-* | wc -l)" -eq "$SOAK_STARTS" ]
    # Else nothing was held, refused or disturbed.
    [ "$most" -ge 4 ]
    grep -q holding "$WORK"/sdg-soak-*
    grep -q hipErrorOutOfMemory "$WORK"/sdg-soak-*
    grep -q -v '^124$' "$WORK"/caller-*
    rm -f "$WORK"/caller-* "$WORK"/sdg-soak-*
    traces | sort >"$WORK/../$ID.after"
    run diff "$WORK/../$ID.before" "$WORK/../$ID.after"
    rm -f "$WORK/../$ID.before" "$WORK/../$ID.after"
    echo "$output"
    [ "$status" -eq 0 ]
    echo "# the agent: $kib KiB before, $(agent_kib) KiB after" >&3
    [ "$(agent_kib)" -le $((kib + 1024)) ]
}
