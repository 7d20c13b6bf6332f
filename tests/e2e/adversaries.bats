# preset: mi300x
# Programs that do not want their slice's limits, in a container of 20 GiB and a quarter of the compute units, beside a
# legitimate HIP program in another. What they do: programs/raw-adversary.c, and docs/enforcement.md on what stops them.

setup() { . "$PROJECT/tests/e2e/slices.bash" && slices_setup; }

teardown() {
    [ -z "${AGENT:-}" ] || { kill "$AGENT" && wait "$AGENT" || true; }
    slices_teardown
}

SLICE=(--annotation=sdg.memory=20Gi --annotation=sdg.compute=250m)
GUARDED=("${SLICE[@]}" --annotation=sdg.enforcement=guarded)
# A shell's function: two HIP programs together want more than the slice (one that wanted it alone HIP would refuse, which
# sees a GPU of 20 GiB); the status of the first that ends.
TWO='two() { "$@" /opt/sdg/hip-hold 15G & local one=$!; "$@" /opt/sdg/hip-hold 15G & local other=$!
    wait -n; local status=$?; kill -9 $one $other; wait $one $other; return $status; }'

# With the guard, and with the watchdog alone: "refused" at the call, "killed" within the time of grace, "nothing": it got
# what it wanted.
table() {
    grep -v '^#' <<-END
		# adversary               guarded  watched  stopped by (with the watchdog alone)
		allocation                refused  killed   guard (watchdog)
		type-byte                 refused  killed   guard (watchdog)
		odd-size                  refused  killed   guard (watchdog)
		small-steps               refused  killed   guard (watchdog)
		halved-ring               refused  killed   guard (watchdog)
		children                  refused  refused  guard (watchdog, which kills one of them)
		orphan                    refused  refused  guard (watchdog, which kills it)
		descriptor-of-another     refused  refused  driver: descriptors and handles are a process's own
		race-on-arguments         killed   killed   watchdog, or guard where the race is lost
		race-on-descriptor        killed   killed   watchdog, or guard where the race is lost
		scribble                  refused  killed   guard (watchdog): both ask the kernel
		write-limits              refused  refused  read-only mount
		unmount                   refused  refused  no CAP_SYS_ADMIN in the container
		own-namespaces            refused  killed   guard (watchdog): both read the host's page
		node-of-another-gpu       refused  refused  device cgroup
		managed                   refused  killed   guard (watchdog)
		graphics-buffer           refused  nothing  guard (nothing: the KFD's figures do not count what render nodes allocate)
		placed-buffer             refused  nothing  guard (nothing, as above)
		imported-buffer           nothing  nothing  nothing: a buffer counts once, however often it is imported
		checkpoint                refused  refused  guard (driver: no CAP_CHECKPOINT_RESTORE)
		unmasked-queue            killed   killed   watchdog
		wide-mask                 refused  killed   guard (watchdog)
		number-of-a-masked-queue  killed   killed   watchdog
		user-queue                refused  refused  guard (driver: MI300X has none)
	END
}

# agent [KEY = VALUE…]: starts sdg-agent with such a configuration.
agent() {
    printf '%s\n' "$@" >"$WORK/config.toml"
    OPTIONS+=(--config "$WORK/config.toml")
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}"
    "$SDG_DIST/usr/bin/sdg-agent" "${OPTIONS[@]}" run >"$WORK/agent.log" 2>&1 &
    AGENT=$!
    wait_for "the agent's socket" test -S "$STATE/guard.sock"
}

# outcome STATUS: in the table's words.
outcome() {
    case $1 in
    0) echo nothing ;;
    3) echo refused ;;
    137) echo killed ;;
    *) echo "status $1" ;;
    esac
}

# A HIP program that allocates, copies and computes for as long as /run/legitimate/go exists, and counts its rounds.
legitimate() {
    mkdir "$WORK/legitimate" && touch "$WORK/legitimate/go"
    container "--volume=$WORK/legitimate:/run/legitimate" "$@" /bin/sh -c '
        cd /opt/sdg; while [ -e /run/legitimate/go ]; do
            ./hip-copy >/tmp/out 2>&1 && ./hip-queues 4 >>/tmp/out 2>&1 || { cat /tmp/out; exit 1; }
            echo round
        done' >"$WORK/legitimate.out" 2>&1 &
    LEGITIMATE=$!
    wait_for "the legitimate program" grep -q round "$WORK/legitimate.out"
}

legitimate_noticed_nothing() {
    rm "$WORK/legitimate/go"
    wait "$LEGITIMATE" || { cat "$WORK/legitimate.out"; return 1; }
    [ "$(grep -c round "$WORK/legitimate.out")" -gt 1 ]
}

# all_adversaries COLUMN OPTION…: each in turn in one container; compares with the table's column.
all_adversaries() {
    local column=$1 name expected results
    shift
    results=$(container "$@" /bin/bash -c '
        for name; do /opt/sdg/raw-adversary $name >/tmp/out 2>&1; echo "$name $? $(tail -n 1 /tmp/out)"; done' all \
        $(table | awk '{ print $1 }'))
    echo "$results"
    [ "$(wc -l <<<"$results")" -eq "$(table | wc -l)" ]
    local wrong=0
    while read -r name expected; do
        actual=$(outcome "$(awk -v name="$name" '$1 == name { print $2 }' <<<"$results")")
        # Whether a race is won is chance; what matters is that it ends with no more than the slice.
        case $name:$actual in
        race-*:refused) ;;
        *:"$expected") ;;
        *) echo "$name: $actual, expected $expected" && wrong=1 ;;
        esac
    done < <(table | awk -v column="$column" '{ print $1, $column }')
    return $wrong
}

@test "with the guard, adversaries are refused at the call or killed, and a HIP program beside them notices nothing" {
    agent 'watchdog = "kill"'
    legitimate "${GUARDED[@]}"
    all_adversaries 2 "${GUARDED[@]}" || { tail -n 40 "$WORK/agent.log"; return 1; }
    legitimate_noticed_nothing
    [ "$(slices | jq length)" -eq 0 ]
}

@test "with the watchdog alone, they are killed, and a HIP program beside them notices nothing" {
    agent 'watchdog = "kill"'
    legitimate "${SLICE[@]}"
    all_adversaries 3 "${SLICE[@]}" || { tail -n 40 "$WORK/agent.log"; return 1; }
    run container "${SLICE[@]}" /bin/bash -c "$TWO; two env LD_PRELOAD=/opt/sdg/lib-bypass.so; echo bypassed \$?"
    echo "$output"
    [[ $output == *"bypassed 137"* ]]
    legitimate_noticed_nothing
}

@test "environment and preloaded libraries: the shim stays, or the guard is beneath" {
    agent 'watchdog = "kill"'
    run container "${GUARDED[@]}" /bin/bash -c "$TWO; cd /opt/sdg
        two env -i; echo cleared \$?
        two env LD_PRELOAD=/opt/sdg/lib-bypass.so; echo bypassed \$?
        HSA_CU_MASK_SKIP_INIT=1 ./hip-queues 2 >/dev/null; echo skipped \$?
        HSA_MODEL_LIB=/nowhere HSA_MODEL_TOPOLOGY=/nowhere ./hip-hold 1G >/dev/null 2>&1; echo modelled \$?"
    echo "$output"
    [[ $output == *"cleared 2"* && $output == *"bypassed 2"* && $output == *"skipped 0"* ]]
    # A model in the place of the driver reaches no device.
    [[ $output != *"modelled 0"* ]]
    device_log | jq -se '[.[] | select(.event == "mask")] | length > 0 and all(.[]; .units <= 72)'
}

@test "an agent that dies refuses, and never allows" {
    agent 'watchdog = "off"'
    mkdir "$WORK/shared"
    container "--volume=$WORK/shared:/run/shared" "${GUARDED[@]}" /bin/bash -c '
        echo ready; while [ ! -e /run/shared/go ]; do sleep 0.1; done
        /opt/sdg/raw-kfd 1048576; echo "ended $?"' >"$WORK/out" 2>&1 &
    wait_for "the container" grep -q ready "$WORK/out"
    kill -9 "$AGENT"
    ended_with 137 "$AGENT"
    AGENT=
    touch "$WORK/shared/go"
    wait_for "the program's end" grep -q ended "$WORK/out"
    cat "$WORK/out"
    grep -q '"errno":38' "$WORK/out" # ENOSYS
    # And no other container starts.
    run container "${GUARDED[@]}" /bin/true
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *'needs sdg-agent'* ]]
}

@test "a container of the configuration's own making is guarded, unless its profile has another listener" {
    agent 'enforcement = "guarded"' 'watchdog = "off"'
    run container "${SLICE[@]}" /opt/sdg/raw-adversary allocation
    echo "$output"
    [ "$status" -eq 3 ]
    run container "${SLICE[@]}" --security-opt=seccomp=unconfined /opt/sdg/raw-adversary allocation
    echo "$output"
    [ "$status" -eq 3 ]
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/other.sock"}' >"$WORK/profile.json"
    run container "${SLICE[@]}" --security-opt="seccomp=$WORK/profile.json" /bin/true
    echo "$output"
    [ "$status" -ne 0 ]
    no_slice_is_left
}
