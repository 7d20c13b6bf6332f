# preset: mi300x
# Slices on Podman, on one simulated MI300X: what the program sees, what the device saw, and what is left.

setup() { . "$PROJECT/tests/e2e/slices.bash" && slices_setup; }
teardown() { slices_teardown; }

GIB=$((1024 * 1024 * 1024))

@test "a 20Gi slice is a 20 GiB GPU, and the byte beyond is out of memory" {
    run container --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((20 * GIB)) ]
    [ "$(step beyond-total refused)" = true ]
    [ "$(step full allocated)" -gt $((19 * GIB)) ]
    [ "$(step full allocated)" -le $((20 * GIB)) ]
    [ "$(step device multiprocessors)" -eq 72 ]
    # What the device gave out, by its own count, at no time exceeded the slice.
    device_log | jq -se --argjson most $((20 * GIB)) '
        [foreach (.[] | select(.event == "alloc" and .vram and .result == "ok" or .event == "free" and .vram)) as $e
            (0; . + (if $e.event == "alloc" then $e.size else -$e.size end))]
        | length > 0 and max <= $most and max > $most * 0.95'
    no_slice_is_left
}

@test "every compute queue reaches the device with the slice's mask, the program's own streams too" {
    container --name=sdg-queues-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m \
        /bin/sh -c '/opt/sdg/hip-queues && exec /opt/sdg/hip-hold 1G' >"$WORK/out" &
    local container=$!
    wait_for "the program to hold its memory" holds "$WORK/out"
    mask=$(slices | jq -c '.[0].gpus[0].cu_mask')
    [ "$(slices | jq '.[0].gpus[0].compute_units')" -eq 72 ]
    engine kill --signal TERM sdg-queues-$ID
    ended_with 0 "$container"
    device_log | jq -se --argjson slice "$mask" '
        ([.[] | select(.event == "queue" and (.kind | test("sdma") | not)) | [.pid, .queue]] | unique) as $queues
        | ([.[] | select(.event == "mask")]) as $masks
        | ($queues | length > 0)
        and ($queues - [$masks[] | [.pid, .queue]] == [])
        and all($masks[]; .uncovered_xccs == [] and .units <= 72)
        and any($masks[]; .mask[:($slice | length)] == $slice)'
}

@test "what podman exec starts sees the slice's units, with an empty environment and after a resize too" {
    container --name=sdg-exec-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-hold 1G >"$WORK/one" &
    first=$!
    wait_for "the container" holds "$WORK/one"
    seen() { # seen UNITS COMMAND…
        run engine exec "sdg-exec-$ID" "${@:2}" /opt/sdg/hip-queues 1
        echo "$output"
        [ "$status" -eq 0 ] && [ "$(step device multiprocessors)" -eq "$1" ]
    }
    seen 72
    seen 72 env -i
    sdg slice resize "$(slices | jq -r '.[0].id')" --compute=500m
    seen 144
    seen 144 env -i
    # A person's own wish stays.
    seen 8 env ROC_GLOBAL_CU_MASK=0xff
    engine kill --signal TERM "sdg-exec-$ID"
    wait "$first"
}

@test "HIP that is opened with RTLD_DEEPBIND, or in a namespace of its own, is held like any other" {
    for program in deep-mem newlm-mem; do
        run container --annotation=sdg.memory=4Gi --annotation=sdg.compute=250m /opt/sdg/$program
        echo "$output"
        [ "$status" -eq 0 ]
        [ "$(step memory total)" -eq $((4 * GIB)) ]
        [ "$(step beyond-total refused)" = true ]
        [ "$(step device multiprocessors)" -eq 72 ]
    done
}

@test "programs with AddressSanitizer start in a slice, by podman exec and with an empty environment too" {
    container --name=sdg-asan-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-hold 1G >"$WORK/one" &
    first=$!
    wait_for "the container" holds "$WORK/one"
    for program in asan-mem asan-static-mem; do
        # What HIP itself leaks is not the matter here.
        run engine exec "sdg-asan-$ID" env -i ASAN_OPTIONS=detect_leaks=0 /opt/sdg/$program
        echo "$output"
        [ "$status" -eq 0 ]
        [ "$(step memory total)" -eq $((20 * GIB)) ]
        [ "$(step device multiprocessors)" -eq 72 ]
    done
    engine kill --signal TERM "sdg-asan-$ID"
    wait "$first"
    run container --annotation=sdg.memory=4Gi --env=ASAN_OPTIONS=detect_leaks=0:exitcode=7 /opt/sdg/asan-mem
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "the least useful slice holds a small program with its queues, and in a smaller one the engine says what is missing" {
    least=$(sdg gpu list --json | jq '.[0].least_useful_bytes')
    container --name=sdg-least-$ID --annotation=sdg.memory=$least /opt/sdg/hip-hold 64M >"$WORK/out" 2>"$WORK/said" &
    wait_for "the program to hold its memory" holds "$WORK/out"
    # Two queues with their save areas, and nothing was refused.
    slices | jq -e --argjson queue "$(sdg gpu list --json | jq '.[0].compute_queue_bytes')" --argjson least "$least" \
        '.[0] | .refused_allocations == 0 and .peak_memory_bytes > 2 * $queue and .peak_memory_bytes <= $least'
    engine kill --signal TERM sdg-least-$ID
    wait $!
    run cat "$WORK/said"
    [[ $output != *"sdg: warning"* ]]

    run container --annotation=sdg.memory=$((least - 1)) /bin/true
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"sdg: warning: sdg.memory: 502.99Mi on GPU 0 is less than a HIP program may take before its data, 503Mi"* ]]

    run container --annotation=sdg.memory=20 /bin/true
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: sdg.memory: 20 is 20 bytes, "*"; did you mean 20Gi?"* ]]
    no_slice_is_left
}

@test "a second container gets other units and other memory, a third that does not fit is refused with the reason" {
    container --name=sdg-one-$ID --annotation=sdg.memory=100Gi --annotation=sdg.compute=500m /opt/sdg/hip-hold 90G >"$WORK/one" &
    local one=$!
    wait_for "the first container" holds "$WORK/one"
    container --name=sdg-two-$ID --annotation=sdg.memory=60Gi --annotation=sdg.compute=500m /opt/sdg/hip-hold 50G >"$WORK/two" &
    local two=$!
    wait_for "the second container" holds "$WORK/two"
    # No unit is in both masks: 2 x 144.
    slices | jq -e '[.[].gpus[0].compute_units] == [144, 144]'
    slices | jq -e '[.[].gpus[0].cu_mask] | transpose | all(.[0] as $a | .[1] as $b |
        [range(32)] | all(. as $bit | (($a / pow(2; $bit) | floor) % 2) + (($b / pow(2; $bit) | floor) % 2) < 2))'

    run container --annotation=sdg.memory=60Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"asked 60Gi"*"most free: 31."*"Gi on GPU 0"* ]]
    run container --annotation=sdg.memory=1Gi --annotation=sdg.compute=10m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg.compute"* ]]

    [ "$(slices | jq length)" -eq 2 ]
    engine kill --signal TERM sdg-one-$ID sdg-two-$ID
    ended_with 0 "$one" "$two"
    wait_for "the slices to be released" no_slice_is_left
}

@test "when a container has gone, its peak and what would have done are known, by its id and by its program" {
    container --name=sdg-past-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 6G >"$WORK/out" &
    local container=$!
    wait_for "the container" holds "$WORK/out"
    container_id=$(slices | jq -r '.[0].container')
    # Refused: it would be more than the slice has.
    run engine exec sdg-past-$ID /opt/sdg/hip-hold 16G
    [ "$(step refused error)" = hipErrorOutOfMemory ]
    engine kill --signal TERM sdg-past-$ID
    ended_with 0 "$container"
    wait_for "the slice to be released" no_slice_is_left
    run container --annotation=sdg.memory=20Gi --annotation=sdg.compute=100m /bin/sh -c 'exec /opt/sdg/hip-queues'
    [ "$status" -eq 0 ]

    run sdg slice show "${container_id:0:12}"
    echo "$output"
    [[ $output == *"hip-hold"* ]]
    [[ $output =~ peak\ 6\.[0-9]+Gi\ of\ 20Gi\;\ (an\ allocation\ was|[0-9]+\ allocations\ were)\ refused ]]
    sdg slice show "$container_id" --json | jq -e --argjson gib $GIB '.state == "ended" and .refused_allocations > 0
        and .suggested_memory_bytes == null and .peak_memory_bytes > 6e9 and .gpus[0].memory_bytes == 20 * $gib'
    sdg slice history sh --json | jq -e --argjson gib $GIB 'length == 1 and .[0].refused_allocations == 0
        and .[0].suggested_memory_bytes >= .[0].peak_memory_bytes and .[0].suggested_memory_bytes <= 2 * $gib'
    [ "$(sdg slice history --json | jq length)" -eq 2 ]
}

@test "kill -9 of one of two processes in a container: the other can allocate what the dead one held" {
    container --name=sdg-killed-$ID --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m \
        /bin/sh -c '/opt/sdg/hip-hold 12G >/tmp/victim & until grep -q holding /tmp/victim; do sleep 0.1; done
            /opt/sdg/hip-hold 12G; kill -9 $!; wait $!; [ $? -eq 137 ] && exec /opt/sdg/hip-hold 12G' >"$WORK/out" &
    local container=$!
    wait_for "the survivor to hold its memory" holds "$WORK/out"
    [ "$(head -n 1 "$WORK/out" | jq -r .step)" = refused ]
    engine kill --signal TERM sdg-killed-$ID
    ended_with 0 "$container"
}

@test "two processes of one container share one limit" {
    container --name=sdg-shared-$ID --annotation=sdg.memory=10Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 6G >"$WORK/one" &
    local container=$!
    wait_for "the first process" holds "$WORK/one"
    run engine exec sdg-shared-$ID /opt/sdg/hip-hold 6G
    echo "$output"
    [ "$status" -eq 2 ]
    [ "$(step refused error)" = hipErrorOutOfMemory ]
    engine kill --signal TERM sdg-shared-$ID
    ended_with 0 "$container"
}

@test "a resize of memory reaches the running container at once" {
    container --name=sdg-resized-$ID --annotation=sdg.memory=10Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 6G >"$WORK/one" &
    local container=$!
    wait_for "the first process" holds "$WORK/one"
    run engine exec sdg-resized-$ID /opt/sdg/hip-hold 6G
    [ "$status" -eq 2 ]
    sdg slice resize "$(slices | jq -r '.[0].id')" --memory 20Gi
    engine exec --detach sdg-resized-$ID /bin/sh -c '/opt/sdg/hip-hold 6G >/tmp/out'
    wait_for "the second process" engine exec sdg-resized-$ID grep -q holding /tmp/out
    engine kill --signal TERM sdg-resized-$ID
    ended_with 0 "$container"
}

@test "a container without our keys starts as ever and sees no GPU" {
    run container /bin/sh -c 'ls /dev/kfd /dev/dri /run/sdg 2>&1; cat /etc/ld.so.preload; echo started'
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *started* ]]
    [ "$(grep -c '^ls: .*No such file' <<<"$output")" -eq 3 ]
    [[ $output != *libsdg* ]]
}

@test "a wrong request is one line that names key and value; nothing is left behind" {
    run container --annotation=sdg.memory=20Gb /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg.memory"*"20Gb"* ]]
    run container --annotation=sdg.memory=300Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg.memory: 300Gi is more than any GPU here has (largest: 191.98Gi on GPU 0)"* ]]
    no_slice_is_left
}

@test "a container that would reach GPUs past its slice is refused" {
    run container --privileged --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *privileged* ]]
    no_slice_is_left
}

@test "a read-only root and another user are no obstacle" {
    run container --read-only --tmpfs=/tmp --annotation=sdg.memory=4Gi --annotation=sdg.compute=100m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((4 * GIB)) ]
    run container --user=12345:12345 --annotation=sdg.memory=4Gi --annotation=sdg.compute=100m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((4 * GIB)) ]
}

@test "an image's own ld.so.preload stays in force beside ours, and its HIP programs are held" {
    . "$PROJECT/tests/e2e/engine.bash"
    image_tree "$WORK/image"
    ROOTFS_FOR_TEST=$WORK/image
    # No line feed at its end: what comes after must not become a part of the last name.
    printf '# ours\n/opt/sdg/lib-own.so' >"$WORK/image/etc/ld.so.preload"
    cp "$WORK/image/etc/ld.so.preload" "$WORK/before"
    run container "--volume=$SDG_ROOTFS/usr:/usr:ro" --annotation=sdg.memory=4Gi --annotation=sdg.compute=250m \
        /bin/sh -c '/opt/sdg/hip-queues && exec /opt/sdg/hip-mem'
    echo "$output"
    [ "$status" -eq 0 ]
    # In the shell and in both programs.
    [ "$(grep -cx "the image's own library is here" <<<"$output")" -eq 3 ]
    [ "$(step memory total)" -eq $((4 * GIB)) ]
    [ "$(step beyond-total refused)" = true ]
    [ "$(step full allocated)" -le $((4 * GIB)) ]
    device_log | jq -se '[.[] | select(.event == "mask")] | length > 0 and all(.[]; .units <= 72)'
    # The image is as it was.
    cmp "$WORK/before" "$WORK/image/etc/ld.so.preload"
    # And without a slice it is the image's alone.
    run container "--volume=$SDG_ROOTFS/usr:/usr:ro" /bin/sh -c 'cat /etc/ld.so.preload; test ! -e /dev/kfd'
    [ "$status" -eq 0 ]
    [[ $output == *"the image's own library is here"* && $output != *libsdg* ]]
}

@test "a container cannot write what holds it, as root neither" {
    run container --annotation=sdg.memory=4Gi --annotation=sdg.compute=100m /bin/sh -c '
        for file in /run/sdg/limits /run/sdg/libsdg.so /etc/ld.so.preload; do
            test -s "$file" && ! true >>"$file" && echo "kept $file"
        done'
    echo "$output"
    [ "$(grep -o 'kept /' <<<"$output" | wc -l)" -eq 3 ]
    [ "$(grep -o 'Read-only file system' <<<"$output" | wc -l)" -eq 3 ]
}

@test "the shim's absence stops a container, it does not free it" {
    cp -a "$SDG_DIST" "$WORK/dist"
    rm "$WORK/dist/usr/lib/sdg/libsdg.so"
    write_hooks "$WORK/dist/usr/bin/sdg" "$HOOKS" "${OPTIONS[@]}"
    run container --annotation=sdg.memory=4Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *libsdg.so* ]]
    no_slice_is_left
}

# The loader says one line of what it cannot load and starts the program all the same.
@test "a shim that the container's programs cannot load stops a container, whoever its user is" {
    shim=$WORK/libsdg.so
    echo "shim = \"$shim\"" >"$WORK/config.toml"
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}" --config "$WORK/config.toml"
    refused() { # refused REASON
        run container --user=1000:1000 --annotation=sdg.memory=4Gi /opt/sdg/hip-mem
        echo "$output"
        [ "$status" -ne 0 ] && [[ $output == *"$shim: containers' programs would run without a limit: $1"* ]] && no_slice_is_left
    }
    install -m 600 "$SDG_DIST/usr/lib/sdg/libsdg.so" "$shim"
    refused "not every user may read it (mode 0600) (chmod o+r $shim)"
    chmod 644 "$shim"
    truncate -s 100 "$shim"
    refused "it is cut short"
    : >"$shim"
    refused "it is empty"
    echo hello >"$shim"
    refused "it is no shared library"
}

INIT=(--init "--init-path=$PROJECT/target/e2e/bin/raw-init")

@test "a container that the shim does not get into is refused with the reason, and starts where it is allowed" {
    run container --annotation=sdg.memory=4Gi /opt/sdg/raw-kfd 1073741824
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"/opt/sdg/raw-kfd is a static program"*"allow_uncovered_images = true"* ]]
    no_slice_is_left
    # What an init starts is what counts, by whatever way it is found.
    run container "${INIT[@]}" --env=PATH=/opt/sdg --annotation=sdg.memory=4Gi musl-true
    echo "$output"
    [[ $output == *"/opt/sdg/musl-true is loaded by /lib/ld-musl-x86_64.so.1"* || $output == *"the loader of /opt/sdg/musl-true"* ]]
    echo 'allow_uncovered_images = true' >"$WORK/config.toml"
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}" --config "$WORK/config.toml"
    run container --annotation=sdg.memory=4Gi /opt/sdg/raw-kfd 1073741824
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "an init before the program and an image without /etc are no obstacle" {
    run container "${INIT[@]}" --annotation=sdg.memory=4Gi --annotation=sdg.compute=100m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((4 * GIB)) ]
    . "$PROJECT/tests/e2e/engine.bash"
    image_tree "$WORK/image"
    rmdir "$WORK/image/etc"
    ROOTFS_FOR_TEST=$WORK/image
    run container "--volume=$SDG_ROOTFS/usr:/usr:ro" --annotation=sdg.memory=4Gi --annotation=sdg.compute=100m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((4 * GIB)) ]
}

@test "a container that Podman itself refuses after the hook leaves its memory to the corrected command" {
    for name in wrong again; do
        run container --name=sdg-$name-$ID --annotation=sdg.memory=150Gi --annotation=sdg.compute=100m --workdir=/nowhere /opt/sdg/hip-mem
        echo "$output"
        [ "$status" -ne 0 ]
        [[ $output != *"most free"* ]]
    done
    run container --annotation=sdg.memory=150Gi --annotation=sdg.compute=100m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    no_slice_is_left
}

@test "a container killed with -9, engine and all, is reaped by the next placement" {
    container --name=sdg-reaped-$ID --annotation=sdg.memory=100Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 1G >"$WORK/one" &
    local container=$!
    wait_for "the container" holds "$WORK/one"
    pid=$(slices | jq '.[0].pid')
    # Podman itself, its monitor, and the container's first process: nobody is left to call a hook.
    pkill -9 -f -- "--name=sdg-reaped-$ID"
    kill -9 "$(ps -o ppid= -p "$pid" | tr -d ' ')" "$pid"
    ended_with 137 "$container"
    # The kernel ends a process in its own time.
    gone() { [[ $(ps -o state= -p "$pid") =~ ^Z?$ ]]; }
    wait_for "the program's end" gone
    [ "$(slices | jq length)" -eq 1 ]
    run container --annotation=sdg.memory=180Gi --annotation=sdg.compute=100m /opt/sdg/hip-hold 200G
    echo "$output"
    [ "$(step refused error)" = hipErrorOutOfMemory ]
    no_slice_is_left
    sdg slice history --json | jq -e 'length == 2 and .[0].program == "hip-hold" and .[0].peak_memory_bytes > 1e9'
}

# agent_said TEXT: the agent in the container said so.
agent_said() { engine logs sdg-agent-$ID 2>&1 | grep -F "$1"; }

@test "an agent that its device cgroup keeps from the GPUs says so at its start, and sdg doctor says it too" {
    mkdir "$STATE"
    container --name=sdg-agent-$ID --detach --volume="$SDG_DIST/usr/bin:/opt/agent:ro" --volume="$STATE:/state" \
        /opt/agent/sdg-agent run --state /state
    wait_for "its warning" agent_said "WARN sees 0 of 1 GPUs: GPU 0 (KFD node 1) is left out: read "
    agent_said ": this process's device cgroup does not allow the GPU's render node (a service needs DeviceAllow=char-drm rw)"
    wait_for "the agent's socket" test -S "$STATE/guard.sock"
    run sdg doctor
    echo "$output"
    [[ $output == *"answers, but sees 0 of 1 GPUs: GPU 0 (KFD node 1) is left out: read "*"DeviceAllow=char-drm rw"* ]]
    engine rm --force --time 0 sdg-agent-$ID
}
