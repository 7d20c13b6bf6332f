# preset: mi300x
# Podman of ordinary users: what sdg says to them, and what the broker of sdg-agent gives to members of its group. They have no
# subordinate ids here, and image trees of their own.

ORDINARY=65534
# They are members of this group, and so is nobody else.
GROUP=4242
ONE=65534:$GROUP
TWO=1:$GROUP

setup() {
    . "$PROJECT/scripts/podman.bash"
    . "$PROJECT/tests/e2e/engine.bash"
    WORK=$(mktemp -d /tmp/sdg-rootless.XXXXXX)
    chmod 755 "$WORK"
    mkdir -p "$WORK"/{hooks,bin}
    # The checkout may lie where an ordinary user cannot look.
    cp -a "$SDG_DIST/usr" "$WORK/usr"
    cp "$PROJECT"/target/e2e/bin/hip-{mem,queues,hold} "$WORK/bin/"
    cat >"$WORK/config.toml" <<-TOML
		broker = true
		broker_group = "$GROUP"
		broker_slices = 3
		metrics = "off"
	TOML
    OPTIONS=(--state "$WORK/state" --config "$WORK/config.toml")
    SDG=$WORK/usr/bin/sdg
    write_hooks "$SDG" "$WORK/hooks" "${OPTIONS[@]}"
    for user in 1 65534; do
        mkdir -p "$WORK/$user"/{home,run}
        image_tree "$WORK/$user/root"
        chown -R "$user:$user" "$WORK/$user"
        chmod 700 "$WORK/$user/run"
    done
    LOG_START=$(wc -l <"$SDG_SIM_LOG")
}

teardown() {
    # Containers that a failed test left.
    slices 2>/dev/null | jq '.[].pid // empty' | xargs -r kill -9
    stop_agent
    remove_storage "$WORK"
}

start_agent() {
    "$WORK/usr/bin/sdg-agent" "${OPTIONS[@]}" run 2>>"$WORK/agent.log" 3>&- &
    AGENT=$!
    wait_for "the broker" greeted "$ONE"
}

stop_agent() {
    [ -z "${AGENT:-}" ] || { kill -9 "$AGENT" && wait "$AGENT" || true; }
    AGENT=
}

# as USER[:GROUP] COMMAND…
as() {
    local user=${1%:*} groups=--clear-groups hidden=()
    [ "$user" = "$1" ] || groups=--groups=${1#*:}
    shift
    # shellcheck disable=SC2016
    if [ "$SDG_RUNTIME" = crun ] && cgroups_are_hybrid; then
        hidden=(unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' crun-without-hybrid)
    fi
    (cd / && "${hidden[@]}" setpriv --reuid "$user" --regid "$user" "$groups" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME="$WORK/$user/home" XDG_RUNTIME_DIR="$WORK/$user/run" "$@")
}

# container USER[:GROUP] [PODMAN-OPTION…] COMMAND…: every option that takes a value is written as --option=value.
container() {
    local who=$1 options=()
    shift
    while [ "${1:0:2}" = -- ]; do
        options+=("$1")
        shift
    done
    as "$who" podman --runtime "$SDG_RUNTIME" --cgroup-manager=cgroupfs --events-backend=none --hooks-dir "$WORK/hooks" \
        run --rm --network=none "${options[@]}" --volume "$SDG_ROOTFS/usr:/usr:ro" --volume "$WORK/bin:/opt/sdg:ro" \
        --rootfs "$WORK/${who%:*}/root" "$@"
}

# ask USER[:GROUP] TEXT: what the broker answers to anything.
ask() {
    # shellcheck disable=SC2016
    as "$1" perl -MIO::Socket::UNIX -e 'my ($socket, $text) = @ARGV;
        # Who says too much is answered and left before all of it is written.
        $SIG{PIPE} = "IGNORE";
        my $broker = IO::Socket::UNIX->new($socket) or die "$!\n";
        print $broker "$text\n"; $broker->flush; print <$broker>' "$WORK/state/broker.sock" "$2"
}

message() { jq -nc "{version: 1, content: $1}"; }

greeted() { ask "$1" "$(message '"greet"')" | jq -e '.content == "done"'; }

place() {
    ask "$1" "$(message "{place: {annotations: [[\"sdg.memory\", \"$2\"], [\"sdg.compute\", \"100m\"]],
        preload: [], covered: true, maker: null}}")"
}

refusal() { jq -r .content.refused <<<"$output"; }

holds() { grep -q '"holding"' "$1"; }

device_log() { tail -n "+$((LOG_START + 1))" "$SDG_SIM_LOG"; }

nothing_is_left() { [ -z "$(ls -A "$WORK/state/slices")" ]; }

@test "an ordinary user's containers without our keys start as ever" {
    run container "$ORDINARY" echo started
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *started* ]]
}

@test "without a broker one with a slice is refused with a line that says why, and nothing is left" {
    run container "$ORDINARY" --annotation=sdg.memory=20Gi echo started
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: mkdir $WORK/state: Permission denied (os error 13): only root places slices"* ]]
    [[ $output == *"no broker answers on $WORK/state/broker.sock: No such file"*"broker = true"* ]]
    [[ $output != *started* ]]
    [ ! -e "$WORK/state" ]
}

@test "with root's ledger there, too; root's slices are untouched" {
    sdg slice create --name root --memory 20Gi
    run container "$ORDINARY" --annotation=sdg.memory=20Gi echo started
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: open $WORK/state/lock: Permission denied (os error 13): only root places slices"* ]]
    [ "$(slices | jq length)" -eq 1 ]
}

@test "an ordinary user sees the GPUs, and not who has what" {
    run as "$ORDINARY" "$SDG" "${OPTIONS[@]}" gpu list
    echo "$output"
    [[ $output == *"AMD Instinct MI300X"*"191.98Gi"* ]]
    sdg slice create --name root --memory 20Gi
    run as "$ORDINARY" "$SDG" "${OPTIONS[@]}" slice list
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == "sdg: open $WORK/state/slices: Permission denied (os error 13)" ]]
}

@test "with a broker a member of the group has a 20 GiB GPU, and the byte beyond is out of memory" {
    start_agent
    run container "$ONE" --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-mem
    echo "$output"
    cat "$WORK/agent.log"
    [ "$status" -eq 0 ]
    saw_a_slice_of 20
    [ "$(step device multiprocessors)" -eq 72 ]
    # By the device's own count.
    device_log | jq -se --argjson most $((20 * GIB)) '
        [foreach (.[] | select(.event == "alloc" and .vram and .result == "ok" or .event == "free" and .vram)) as $e
            (0; . + (if $e.event == "alloc" then $e.size else -$e.size end))]
        | length > 0 and max <= $most and max > $most * 0.95'
    nothing_is_left
    sdg slice history hip-mem --json | jq -e 'length == 1'
    # A request is checked as root's is.
    run container "$ONE" --annotation=sdg.memory=300Gi echo started
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: sdg.memory: 300Gi is more than any GPU here has (largest: 191.98Gi on GPU 0)"* ]]
    run container "$ONE" --annotation=sdg.memory=1Gi --annotation=sdg.enforcement=guarded echo started
    echo "$output"
    [[ $output == *'enforcement "guarded" is not to be had without root'* ]]
    nothing_is_left
}

@test "two users have different units, masked queues, and no power over the other's slice" {
    start_agent
    container "$ONE" --annotation=sdg.memory=100Gi --annotation=sdg.compute=250m \
        /bin/sh -c '/opt/sdg/hip-queues && exec /opt/sdg/hip-hold 1G' >"$WORK/one" 2>&1 3>&- &
    containers=$!
    wait_for "the first user's container" holds "$WORK/one" || { cat "$WORK/one" "$WORK/agent.log"; false; }
    container "$TWO" --annotation=sdg.memory=60Gi --annotation=sdg.compute=250m /opt/sdg/hip-hold 1G >"$WORK/two" 2>&1 3>&- &
    containers+=" $!"
    wait_for "the second user's container" holds "$WORK/two" || { cat "$WORK/two" "$WORK/agent.log"; false; }
    # The first user's first, though both may be of one second.
    both=$(slices | jq -c 'sort_by(-.user)')
    jq -e 'map(.user) == [65534, 1] and map(.gpus[0].compute_units) == [72, 72] and map(.state) == ["running", "running"]' <<<"$both"
    slices | jq -e '[.[].gpus[0].cu_mask] | transpose | all(.[0] as $a | .[1] as $b |
        [range(32)] | all(. as $bit | (($a / pow(2; $bit) | floor) % 2) + (($b / pow(2; $bit) | floor) % 2) < 2))'
    device_log | jq -se --argjson slices "$(slices)" '
        ([.[] | select(.event == "queue" and (.kind | test("sdma") | not)) | [.pid, .queue]] | unique) as $queues
        | ([.[] | select(.event == "mask")]) as $masks
        | ($queues | length > 0) and ($queues - [$masks[] | [.pid, .queue]] == [])
        and all($masks[]; .units <= 72)
        and all($slices[].gpus[0].cu_mask; . as $mask | any($masks[]; .mask[:($mask | length)] == $mask))'

    local slice pid
    slice=$(jq -r '.[0].id' <<<"$both")
    pid=$(jq '.[0].pid' <<<"$both")
    # Each sees his own.
    as "$ONE" "$SDG" "${OPTIONS[@]}" slice list --json | jq -e --arg slice "$slice" 'map(.id) == [$slice]'
    as "$TWO" "$SDG" "${OPTIONS[@]}" slice list --json | jq -e --arg slice "$slice" 'length == 1 and .[0].id != $slice'
    as "$ONE" cat "$WORK/state/slices/$slice/slice.json" >/dev/null
    run as "$TWO" cat "$WORK/state/slices/$slice/slice.json"
    [[ $output == *"Permission denied"* ]]
    run as "$TWO" test -w "$WORK/state/slices/$slice/usage"
    [ "$status" -ne 0 ]
    # What is another's is not there.
    run ask "$TWO" "$(message "{claim: {slice: \"$slice\", container: \"c\", pid: $pid, workload: {}}}")"
    [[ $(refusal) == "no slice \"$slice\""* ]]
    ask "$TWO" "$(message "{release: {slice: \"$slice\", container: null}}")"
    # Nor does the owner get rid of a slice that its container goes on using, or tie one to a process of somebody else.
    run ask "$ONE" "$(message "{release: {slice: \"$slice\", container: null}}")"
    [[ $(refusal) == *"which runs" ]]
    run place "$TWO" 1Gi
    run ask "$TWO" "$(message "{claim: {slice: $(jq .content.placed.record.id <<<"$output"), container: \"c\", pid: $pid, workload: {}}}")"
    echo "$output"
    [[ $(refusal) == "process $pid is none of user 1" ]]
    # Enough is enough.
    place "$TWO" 1Gi
    run place "$TWO" 1Gi
    [[ $(refusal) == "user 1 holds 3 slices already (broker_slices = 3)" ]]
    [ "$(slices | jq 'map(select(.state == "running")) | length')" -eq 2 ]
    for slice in $(slices | jq -r '.[] | select(.state == "placed").id'); do
        ask "$TWO" "$(message "{release: {slice: \"$slice\", container: null}}")"
    done
    [ "$(slices | jq length)" -eq 2 ]

    kill "$pid" "$(jq '.[1].pid' <<<"$both")"
    # shellcheck disable=SC2086
    ended_with 0 $containers
    sdg slice reap
    nothing_is_left
}

@test "device nodes that only a group may open are for containers that keep their user's groups" {
    local group keep=()
    # runc keeps groups where the user namespace cannot set them, as here without subordinate ids.
    [ "$SDG_RUNTIME" = runc ] || keep=(--group-add=keep-groups)
    group=$(stat -c %g /dev/kfd)
    [ "$(stat -c %a /dev/kfd)" -eq 660 ]
    start_agent
    run container "$ONE" "${keep[@]}" --annotation=sdg.memory=1Gi test -w /dev/kfd
    echo "$output"
    [ "$status" -eq 1 ]
    run container "$ONE,$group" "${keep[@]}" --annotation=sdg.memory=1Gi test -w /dev/kfd
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "who is no member of the group is refused in one line, and may not see" {
    start_agent
    run container "$ORDINARY" --annotation=sdg.memory=20Gi echo started
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: user 65534 is no member of group $GROUP, whose members may have slices"* ]]
    [[ $output != *started* ]]
    run as "$ORDINARY" "$SDG" "${OPTIONS[@]}" doctor
    [[ $output == *"run as root; for other users: user 65534 is no member of group $GROUP"* ]]
    run as "$ONE" "$SDG" "${OPTIONS[@]}" doctor
    [[ $output == *"the broker of sdg-agent places slices for this user"* ]]
    # One truth: the broker is the agent.
    [[ $output == *" agent              answers"* && $output != *"does not answer"* ]]
    nothing_is_left
}

@test "a broker killed at any time leaves nothing after a reap, and containers go on and end without it" {
    # What nobody has claimed is over at once.
    echo 'claim_grace = 0' >>"$WORK/config.toml"
    start_agent
    container "$ONE" --annotation=sdg.memory=20Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 1G >"$WORK/one" 2>&1 3>&- &
    containers=$!
    wait_for "the container" holds "$WORK/one"
    for pause in 0 0.003 0.006 0.009 0.012 0.015; do
        (place "$ONE" 1Gi >/dev/null 2>&1 || true) &
        sleep "$pause"
        stop_agent
        sdg slice reap
        slices | jq -e 'map(.state) == ["running"]'
        start_agent
    done
    stop_agent
    kill "$(slices | jq '.[0].pid')"
    ended_with 0 "$containers"
    sdg slice reap
    nothing_is_left
}

@test "garbage, silence and crowds on the socket harm nobody else" {
    start_agent
    run ask "$ONE" "$(head -c 100000 /dev/zero | tr '\0' '[')"
    [[ $(refusal) == "read what was asked: a line of more than 65536 bytes" ]]
    run ask "$ONE" '{"version": 7, "content": "greet"}'
    [[ $(refusal) == "a message of version 7, this program knows 1"* ]]
    run ask "$ONE" "$(message '{release: {slice: "../../etc", container: null}}')"
    [[ $(jq -r .content <<<"$output") == done ]]
    run ask "$ONE" "$(message '{place: {annotations: [["sdg.memory", "20Gb"]], preload: [], covered: true, maker: null}}')"
    [[ $(refusal) == *"sdg.memory"*"20Gb"* ]]
    # More silent connections than a user may have: he waits for himself, and the other does not.
    # shellcheck disable=SC2016
    as "$ONE" perl -MIO::Socket::UNIX -e 'my ($socket, $text) = @ARGV;
        # Who finds no seat may be answered and left before he has said what he wants.
        $SIG{PIPE} = "IGNORE";
        my @crowd = map { IO::Socket::UNIX->new($socket) } 1 .. 100;
        my $last = IO::Socket::UNIX->new($socket) or die "$!\n";
        print $last "$text\n"; $last->flush; print <$last>; close STDOUT; sleep 60' \
        "$WORK/state/broker.sock" "$(message '"greet"')" >"$WORK/crowd" 3>&- &
    wait_for "the last of the crowd" test -s "$WORK/crowd"
    jq -e '.content == "busy"' "$WORK/crowd"
    greeted "$TWO"
    # The silent ones are sent away, and then he is served again, though they stay.
    wait_for "a seat" greeted "$ONE"
    pkill -P $!
    nothing_is_left
}
