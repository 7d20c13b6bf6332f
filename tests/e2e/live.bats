# preset: mi300x
# Slices that change while their containers run: masks and limits as the device sees them, what is lent, and who is told.

setup() { . "$PROJECT/tests/e2e/slices.bash" && slices_setup; }
teardown() { slices_teardown; }

GIB=$((1024 * 1024 * 1024))

# every_queue_has UNITS: effective units, on every queue that lives.
every_queue_has() {
    live_masks | jq -e --argjson units "$1" 'length > 0 and all(.[]; .effective_units == $units and .uncovered_xccs == [])' >/dev/null
}

# was_late: the command whose stderr is in $WORK/said told of a process that got no turn within the second that it is waited
# for, as happens on a busy machine.
was_late() { grep -q 'has not taken the new compute units' "$WORK/said"; }

# queues_get UNITS: they have them when the command returns, but where it said who is late.
queues_get() {
    ! was_late || wait_for "who is late" every_queue_has "$1"
    every_queue_has "$1"
}

loops() { grep -q '"looping"' "$1"; }
both_loop() { [ "$(grep -c '"looping"' "$1")" -eq 2 ]; }

# What the device's queues have done: [microseconds without those that each launch takes, work-items].
work() {
    "$SDG_DIST/usr/bin/sdg-sim" status --node "$SDG_SYSROOT" --json |
        jq -c '[.. | objects | select(has("dispatches"))] | [(map(.microseconds - 5 * .dispatches) | add), (map(.items) | add)]'
}

# The model's time for a work-item, in picoseconds, over half a second of the loop, or until it has done anything.
cost() {
    local before after
    before=$(work)
    for _ in $(seq 120); do
        sleep 0.5
        after=$(work)
        [ "$(jq '.[1]' <<<"$before")" = "$(jq '.[1]' <<<"$after")" ] || break
    done
    jq -n --argjson before "$before" --argjson after "$after" \
        '($after[0] - $before[0]) / ($after[1] - $before[1]) * 1e6 | round'
}

@test "a loop of kernels has its mask halved and back: its queues have it at once, its throughput follows, nothing fails" {
    container --name=sdg-live-$ID --annotation=sdg.memory=4Gi --annotation=sdg.compute=444m /opt/sdg/hip-loop 2 >"$WORK/out" &
    local container=$!
    wait_for "the loop" loops "$WORK/out"
    id=$(slices | jq -r '.[0].id')
    every_queue_has 128
    before=$(cost)
    queues=$(live_masks | jq -c 'map([.pid, .queue])')
    local at_once=() change share units
    for _ in 1 2 3 4 5; do
        for change in "222m 64" "444m 128"; do
            read -r share units <<<"$change"
            sdg slice resize "$id" --compute "$share" 2>"$WORK/said"
            was_late || at_once+=("$units")
            queues_get "$units"
            [ "$units" -eq 128 ] || halved=${halved:-$(cost)}
        done
    done
    # However busy the machine is, not always.
    [ "${#at_once[@]}" -gt 0 ]
    after=$(cost)
    echo "a work-item: $before ps, halved $halved ps, $after ps again"
    [ "$(live_masks | jq -c 'map([.pid, .queue])')" = "$queues" ]
    jq -en "($halved / $before - 2 | fabs) < 0.1 and ($after / $before - 1 | fabs) < 0.1"
    engine kill --signal TERM sdg-live-$ID
    ended_with 0 "$container"
    tail -n 1 "$WORK/out" | jq -e '.passed'
}

@test "a new guarantee takes lent units from 8 processes in 4 containers before it is there, and gives them back" {
    local containers=()
    for number in 1 2 3 4; do
        container --name=sdg-lent$number-$ID --annotation=sdg.memory=2Gi --annotation=sdg.compute=100m \
            --annotation=sdg.computeLimit=223m /bin/sh -c 'trap "kill -TERM \$one \$two" TERM
                /opt/sdg/hip-loop 1 & one=$!; /opt/sdg/hip-loop 1 & two=$!
                wait $one; wait $one && wait $two' >"$WORK/out$number" &
        containers+=($!)
    done
    for number in 1 2 3 4; do
        wait_for "the loops of container $number" both_loop "$WORK/out$number"
    done
    [ "$(live_masks | jq 'map(.pid) | unique | length')" -eq 8 ]
    every_queue_has 64
    # Where the machine is so busy that a process gets no turn within the second that it is waited for, the command says so, and
    # it is done again.
    for _ in $(seq 20); do
        created=$(sdg slice create --name "new-$ID" --memory 1Gi --compute 500m --json 2>"$WORK/said")
        was_late || break
        sdg slice delete "new-$ID"
        wait_for "the units to come back" every_queue_has 64
    done
    [ ! -s "$WORK/said" ] || { cat "$WORK/said"; false; }
    # Whoever reads this has the new slice: no queue of the others is on its units any more, and each has its own.
    live_masks | jq -e --argjson new "$(jq -c '.gpus[0].cu_mask' <<<"$created")" '
        length >= 8 and all(.[]; .effective_units >= 32 and .effective_units < 64 and .uncovered_xccs == []
            and ([.mask, $new] | transpose | all(.[0] as $a | .[1] as $b
                | [range(32)] | all(. as $bit | (($a / pow(2; $bit) | floor) % 2) + (($b / pow(2; $bit) | floor) % 2) < 2))))'
    sdg slice delete "new-$ID"
    wait_for "the units to come back" every_queue_has 64
    for number in 1 2 3 4; do
        engine kill --signal TERM "sdg-lent$number-$ID"
    done
    ended_with 0 "${containers[@]}"
    for number in 1 2 3 4; do
        [ "$(grep -c '"passed":true' "$WORK/out$number")" -eq 2 ]
    done
}

# is_stopped PID: every thread of it; each stops when it runs next, which takes its time on a busy machine.
is_stopped() { ! grep -h '^State:' "/proc/$1"/task/*/status | grep -qv 'T (stopped)'; }

@test "a process that is stopped is warned of and does not hold up a new guarantee" {
    container --name=sdg-stopped-$ID --annotation=sdg.memory=2Gi --annotation=sdg.compute=100m --annotation=sdg.computeLimit=1000m \
        /opt/sdg/hip-loop 1 >"$WORK/out" &
    local container=$!
    wait_for "the loop" loops "$WORK/out"
    local stopped
    stopped=$(slices | jq -r '.[0].id')
    engine kill --signal STOP sdg-stopped-$ID
    wait_for "the stop" is_stopped "$(slices | jq '.[0].pid')"
    run sdg slice create --memory 1Gi --compute 500m
    engine kill --signal CONT sdg-stopped-$ID
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"warning: slice $stopped: process 1 of its container has not taken the new compute units"* ]]
    few() { live_masks | jq -e 'all(.[]; .units < 200)' >/dev/null; }
    wait_for "the process to take them when it runs again" few
    engine kill --signal TERM sdg-stopped-$ID
    ended_with 0 "$container"
}

@test "lent memory in use makes a guarantee that needs it fail, with its holder's name; freed, it can be had" {
    container --name=sdg-burst-$ID --annotation=sdg.memory=10Gi --annotation=sdg.memoryLimit=150Gi --annotation=sdg.compute=100m \
        /opt/sdg/hip-hold 120G >"$WORK/out" &
    local first=$!
    wait_for "the burst" holds "$WORK/out"
    burst=$(slices | jq -r '.[0].id')
    run container --annotation=sdg.memory=100Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 90G
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg.memory: asked 100Gi on one GPU; most free: 70."*"Gi on GPU 0, where above their guarantee $burst uses 11"*"Gi"* ]]
    [ "$(slices | jq length)" -eq 1 ]
    engine kill --signal USR1 sdg-burst-$ID
    wait_for "the memory to be freed" grep -q freed "$WORK/out"
    container --name=sdg-next-$ID --annotation=sdg.memory=100Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 95G >"$WORK/next" &
    local next=$!
    wait_for "the guarantee" holds "$WORK/next"
    # What is left is lent to the first again, and no more than is left.
    slices | jq -e --arg burst "$burst" --argjson gib $GIB 'map(select(.id == $burst)) | .[0].gpus[0].memory_available_bytes
        | . > 10 * $gib and . < 92 * $gib'
    engine kill --signal TERM sdg-burst-$ID sdg-next-$ID
    ended_with 0 "$first" "$next"
}

@test "a shrink below what is in use is refused, or waits until it is freed; show says what would do" {
    container --name=sdg-shrunk-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 12900M >"$WORK/out" &
    local container=$!
    wait_for "the program" holds "$WORK/out"
    id=$(slices | jq -r '.[0].id')
    run sdg slice resize "$id" --memory 4Gi --compute 250m
    [ "$status" -ne 0 ]
    [[ $output == *"it uses 13."*"Gi now, more than a limit of 4Gi"* ]]
    [ "$(slices | jq -c '.[0].gpus[0] | [.memory_bytes, .compute_units]')" = "[$((20 * GIB)),32]" ]
    run sdg slice show "$id"
    echo "$output"
    [[ $output == *"peak 13."*"Gi of 20Gi: 14Gi would do"* ]]
    sdg slice resize "$id" --memory 4Gi --compute 250m --wait >"$WORK/resized" 2>"$WORK/said" &
    resize=$!
    wait_for "the command to wait" grep -q "waiting, it still uses 13" "$WORK/said"
    engine kill --signal USR1 sdg-shrunk-$ID
    wait "$resize"
    cat "$WORK/resized"
    [ "$(slices | jq -c '.[0].gpus[0] | [.memory_bytes, .compute_units]')" = "[$((4 * GIB)),72]" ]
    queues_get 72
    engine kill --signal TERM sdg-shrunk-$ID
    ended_with 0 "$container"
}
