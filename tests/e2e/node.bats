# preset: mi300x-8
# Slices on Podman, on a node of eight simulated MI300X.

setup() { . "$PROJECT/tests/e2e/shares.bash" && . "$PROJECT/tests/e2e/slices.bash" && slices_setup; }
teardown() { slices_teardown; }

GIB=$((1024 * 1024 * 1024))

@test "a slice of two GPUs: two GPUs of its size, a limit on each, no other in reach" {
    run container --annotation=sdg.memory=8Gi --annotation=sdg.compute=250m --annotation=sdg.count=2 \
        /bin/sh -c 'ls /dev/dri; /opt/sdg/hip-peer; /opt/sdg/hip-mem'
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c renderD <<<"$output")" -eq 2 ]
    [ "$(step device devices)" -eq 2 ]
    [ "$(step memory total)" -eq $((8 * GIB)) ]
    no_slice_is_left
}

@test "a pinned slice is on its GPU; rocminfo lists that one alone" {
    run container --annotation=sdg.memory=8Gi --annotation=sdg.compute=250m --annotation=sdg.gpu=5 \
        /bin/sh -c 'ls /dev/dri; rocminfo'
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c 'renderD' <<<"$output")" -eq 1 ]
    [[ $output == *"$(sdg gpu list --json | jq -r '.[5].render_node | sub("/dev/dri/"; "")')"* ]]
    [ "$(grep -c '^  Name: *gfx942 *$' <<<"$output")" -eq 1 ]
}

@test "a whole GPU is alone on it and has no limit of ours" {
    run container --annotation=sdg.count=1 /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq 206141652992 ]
    [ "$(step device multiprocessors)" -eq 304 ]
    [ "$(device_log | jq -s '[.[] | select(.event == "mask")] | length')" -eq 0 ]
}

# Starts four containers one after the other, each for a moment; says of each how it went.
four_containers() {
    local worker=$1 number
    for number in 1 2 3 4; do
        if container --name="sdg-many-$ID-$worker-$number" --annotation=sdg.memory=40Gi --annotation=sdg.compute=250m \
            /bin/sh -c "sleep 2" >"$WORK/many-$worker-$number" 2>&1; then
            echo started
        else
            cat "$WORK/many-$worker-$number"
        fi
    done
}

@test "64 containers by 16 processes at once: no unit and no byte twice, and nothing is left" {
    local workers=() most=0 seen
    for worker in $(seq 16); do
        four_containers "$worker" >"$WORK/worker-$worker" &
        workers+=($!)
    done
    for _ in $(seq 20); do
        nothing_is_given_twice
        seen=$(slices | jq '[.[].gpus[].uuid] | group_by(.) | map(length) | max // 0')
        [ "$seen" -le "$most" ] || most=$seen
        sleep 0.5
    done
    ended_with 0 "${workers[@]}"
    echo "most slices seen on one GPU: $most"
    # Else the looks above saw nothing that could have been wrong.
    [ "$most" -ge 2 ]
    started=$(cat "$WORK"/worker-* | grep -c '^started$')
    refused=$(cat "$WORK"/worker-* | grep -c 'asked 40Gi\|sdg.compute' || true)
    echo "started $started, refused $refused"
    cat "$WORK"/worker-* | sort | uniq -c
    [ "$started" -ge 32 ]
    [ $((started + refused)) -eq 64 ]
    no_slice_is_left
}
