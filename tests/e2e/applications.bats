# preset: mi300x-8
# Real applications in slices: llama.cpp with models of random weights, PyOpenCL, hip-python, and the calls by which vLLM learns
# of its GPUs. scripts/applications.sh has made what they are run with ($APPLICATIONS).

setup_file() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    MODELS=$(mktemp -d /tmp/sdg-models.XXXXXX)
    export MODELS
    # 1 MB, and 570 MB.
    application "--volume=$MODELS:/new" python3 /applications/llama_model.py /new/tiny 4 128
    application "--volume=$MODELS:/new" python3 /applications/llama_model.py /new/large 8 2048
    slices_teardown
}
teardown_file() { rm -rf "$MODELS"; }

setup() { . "$PROJECT/tests/e2e/slices.bash" && slices_setup; }
teardown() { slices_teardown; }

GIB=$((1024 * 1024 * 1024))

# application OPTION… COMMAND…: in the root with ROCm 6.4, PyOpenCL and llama.cpp.
application() {
    local ROOTFS_FOR_TEST=$APPLICATIONS/root
    with_wheels "$@"
}

# with_wheels OPTION… COMMAND…: with what pip has brought, the programs here and the models.
with_wheels() {
    container "--volume=$APPLICATIONS/wheels:/wheels:ro" "--volume=$PROJECT/tests/e2e/applications:/applications:ro" \
        "--volume=$MODELS:/models:ro" --env=PYTHONPATH=/wheels --env=PYTHONDONTWRITEBYTECODE=1 --env=LD_LIBRARY_PATH=/wheels/lib "$@"
}

has() { grep -q "\"step\": \"$2\"" "$1"; }

# The device gave the test's programs memory, and no more than so many bytes at any time.
device_gave_at_most() {
    device_log | jq -se --argjson most "$1" '
        [foreach (.[] | select(.event == "alloc" and .vram and .result == "ok" or .event == "free" and .vram)) as $e
            (0; . + (if $e.event == "alloc" then $e.size else -$e.size end))] | length > 0 and max <= $most'
}

# There were compute queues, and each had a mask of so many units.
every_queue_had() {
    device_log | jq -se --argjson units "$1" '
        ([.[] | select(.event == "queue" and (.kind | test("sdma") | not)) | [.pid, .queue]] | unique) as $queues
        | [.[] | select(.event == "mask")] as $masks
        | ($queues | length > 0) and ($queues - [$masks[] | [.pid, .queue]] == [])
        and all($masks[]; .units == $units and .uncovered_xccs == [])'
}

# ended BYTES FILTER: what is true of the record of the slice of that size, which is over.
ended() {
    [ "$(sdg slice history --json | jq --argjson bytes "$1" ".[] | select(.gpus[0].memory_bytes == \$bytes) | $2")" = true ]
}

# generates SLICE MODEL
generates() {
    run application --annotation=sdg.memory="$1" --annotation=sdg.compute=250m python3 /applications/llama_generate.py "/models/$2"
    grep -v create_tensor <<<"$output"
}

@test "llama.cpp in a slice has every layer on the GPU, sees the slice's memory, generates, and its queues have the slice's mask" {
    generates 20Gi tiny
    [ "$status" -eq 0 ]
    [[ $output == *"using device ROCm0 (AMD Instinct MI300X)"*" - 20480 MiB free"* ]]
    [[ $output == *"offloaded 5/5 layers to GPU"* ]]
    [ "$(step generated tokens)" -ge 1 ]
    device_gave_at_most $((20 * GIB))
    every_queue_had 72
    no_slice_is_left
}

@test "a model that a slice does not hold is refused by llama.cpp with a clean error, and generates in one that holds it" {
    # Python's exceptions, no signal. More than the slice has is refused by HIP itself,
    generates 512Mi large
    [ "$status" -eq 1 ]
    [[ $output == *"allocating 5"*" MiB on device 0: cudaMalloc failed: out of memory"* ]]
    [[ $output == *"unable to allocate ROCm0 buffer"* ]]
    [[ $output == *"ValueError: Failed to load model"* ]]
    # and by the shim what is more than the slice has left when the weights are in it.
    generates 768Mi large
    [ "$status" -eq 1 ]
    [[ $output == *"offloaded 9/9 layers to GPU"*" MiB on device 0: cudaMalloc failed: out of memory"* ]]
    [[ $output == *"RuntimeError: Failed to create llama_context"* ]]
    device_gave_at_most $((768 * 1024 * 1024))
    ended $((768 * 1024 * 1024)) '.refused_allocations > 0'

    generates 3Gi large
    [ "$status" -eq 0 ]
    [[ $output == *"offloaded 9/9 layers to GPU"* ]]
    [ "$(step generated tokens)" -ge 1 ]
    ended $((3 * GIB)) '.refused_allocations == 0 and .peak_memory_bytes > 545 * 1048576'
    no_slice_is_left
}

# The queues that live have the masks of the slices that there are, each slice's, and no other.
queues_have_the_slices_masks() {
    live_masks | jq -e --argjson slices "$(slices)" '
        [$slices[].gpus[0].cu_mask] as $wanted
        | [.[] | .mask as $mask | [$wanted[] | . == $mask[:length]] | index(true)]
        | all(.[]; . != null) and (unique | length == ($wanted | length))' >/dev/null
}

# answers FILE: how many requests the client has had answered.
answers() { grep -c '"answered"' "$1" || true; }

# How many kernels the queues that live have run.
dispatches() {
    "$SDG_DIST/usr/bin/sdg-sim" status --node "$SDG_SYSROOT" --json | jq '[.. | objects | .dispatches // empty] | add'
}

# Both servers go on answering, the GPU with them.
both_answer() {
    local one two ran
    one=$(answers "$WORK/asked-one") two=$(answers "$WORK/asked-two") ran=$(dispatches)
    answered_more() { [ "$(answers "$WORK/asked-one")" -gt $((one + 1)) ] && [ "$(answers "$WORK/asked-two")" -gt $((two + 1)) ]; }
    wait_for "both servers to answer" answered_more
    [ "$(dispatches)" -gt "$ran" ]
}

@test "two llama.cpp servers on one card are resized under load: each has its units at once, and no request fails" {
    local containers=() clients=() name
    for name in one two; do
        application --name=sdg-$name-$ID --annotation=sdg.memory=4Gi --annotation=sdg.compute=250m \
            python3 /applications/llama_serve.py /models/tiny >"$WORK/$name" 2>"$WORK/$name-said" &
        containers+=($!)
        wait_for "server $name" has "$WORK/$name" serving
        engine exec sdg-$name-$ID python3 /applications/llama_ask.py /tmp/enough >"$WORK/asked-$name" &
        clients+=($!)
    done
    slices | jq -e 'length == 2 and .[0].gpus[0].uuid == .[1].gpus[0].uuid'
    one=$(slices | jq -r '.[0].id') two=$(slices | jq -r '.[1].id')
    both_answer
    queues_have_the_slices_masks

    # One grows into what is free, shrinks, and leaves room for the other.
    for change in "$one 500m" "$one 125m" "$two 500m" "$two 250m" "$one 444m"; do
        # shellcheck disable=SC2086 # an id and an amount
        set -- $change
        sdg slice resize "$1" --compute "$2"
        queues_have_the_slices_masks
        both_answer
    done
    for memory in 100Gi 3Gi; do
        sdg slice resize "$one" --memory "$memory"
        both_answer
    done
    # What a server has it keeps.
    run sdg slice resize "$two" --memory 100Mi
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"more than a limit of 100Mi"* ]]
    both_answer
    queues_have_the_slices_masks

    for name in one two; do engine exec sdg-$name-$ID touch /tmp/enough; done
    ended_with 0 "${clients[@]}"
    has "$WORK/asked-one" done
    has "$WORK/asked-two" done
    engine kill --signal TERM sdg-one-$ID sdg-two-$ID
    ended_with 0 "${containers[@]}"
    wait_for "the slices to be released" no_slice_is_left
    # Nothing was refused to either.
    sdg slice history --json | jq -e 'length == 2 and all(.[]; .refused_allocations == 0)'
}

@test "PyOpenCL in a slice has its memory and no more, and its queues have the slice's mask" {
    run application --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m python3 /applications/opencl.py
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step device name)" = "AMD Instinct MI300X" ]
    [ "$(step device total)" -eq $((20 * GIB)) ]
    [ "$(step device free)" -le $((20 * GIB)) ]
    [ "$(step copied bytes)" -eq 4194304 ]
    [ "$(step ran items)" -eq 1048576 ]
    [ "$(step too-large error)" = INVALID_BUFFER_SIZE ]
    # What the GPU has no room for OpenCL puts into the host's memory; the GPU gave what the slice has.
    [ "$(step held bytes)" -eq $((24 * GIB)) ]
    sdg slice history --json | jq -e --argjson gib $GIB \
        '.[0] | .refused_allocations > 0 and .peak_memory_bytes > 19 * $gib and .peak_memory_bytes <= 20 * $gib'
    device_gave_at_most $((20 * GIB))
    every_queue_had 72
}

@test "hip-python in a slice has its memory and no more, sees its units, and its queues have the slice's mask" {
    run with_wheels --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m python3 /applications/hip_python.py
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step device count)" -eq 1 ]
    [ "$(step device multiprocessors)" -eq 72 ]
    [ "$(step memory total)" -eq $((20 * GIB)) ]
    [ "$(step memory global_total)" -eq $((20 * GIB)) ]
    [ "$(step memory free)" -le $((20 * GIB)) ]
    [ "$(step copied bytes)" -eq 3145733 ]
    [ "$(step full error)" = hipErrorOutOfMemory ]
    [ "$(step full allocated)" -gt $((17 * GIB)) ]
    [ "$(step full allocated)" -lt $((20 * GIB)) ]
    device_gave_at_most $((20 * GIB))
    every_queue_had 72
}

# told STEP FIELD: every value that vLLM's program was told, in order, as one line of JSON.
told() { jq -scR "[split(\"\n\")[] | fromjson? | select(.step == \"$1\") | .$2]" "$WORK/vllm"; }

# told_again TIMES
told_again() { [ "$(grep -c '"again"' "$WORK/vllm")" -eq "$1" ]; }

@test "what vLLM asks of its GPUs is answered with its own slice, whatever a neighbour on the same cards does" {
    # The first card is another's; the neighbour has the larger part of the two cards that are the slice's.
    sdg slice create --name "other-$ID" --memory 180Gi --compute 500m --gpu 0
    container --name=sdg-first-$ID --annotation=sdg.memory=100Gi --annotation=sdg.compute=500m --annotation=sdg.count=2 \
        /opt/sdg/hip-hold 90G >"$WORK/first" &
    first=$!
    wait_for "the neighbour" holds "$WORK/first"
    with_wheels --name=sdg-vllm-$ID --annotation=sdg.memory=60Gi --annotation=sdg.compute=250m --annotation=sdg.count=2 \
        python3 /applications/vllm_device.py >"$WORK/vllm" 2>"$WORK/said" &
    vllm=$!
    wait_for "vLLM's questions" has "$WORK/vllm" ready
    cat "$WORK/vllm"
    slices | jq -e 'map(select(.container)) | length == 2 and (map([.gpus[].index]) | unique | length == 1 and index([[0]]) == null)'
    gpus=$(slices | jq -c 'map(select(.container))[0].gpus')

    # Two handles of eight, the right ones, and the link between them.
    [ "$(told handles count)" = '[2]' ]
    [ "$(told chip serial)" = "$(jq -c 'map(.uuid | ltrimstr("GPU-") | "0x" + ascii_upcase)' <<<"$gpus")" ]
    [ "$(told chip uuid | jq 'unique | length')" -eq 2 ]
    [ "$(told chip device_id)" = '["0x74a1","0x74a1"]' ]
    [ "$(told chip market_name)" = '["AMD Instinct MI300X","AMD Instinct MI300X"]' ]
    [ "$(told chip architecture)" = '["gfx942","gfx942"]' ]
    [ "$(told link hops) $(told link type)" = '[1] [2]' ]
    # The same two by HIP, of the slice's size.
    [ "$(told devices count)" = '[2]' ]
    [ "$(told properties serial)" = "$(jq -c 'map(.uuid | ltrimstr("GPU-"))' <<<"$gpus")" ]
    [ "$(told properties multi_processor_count)" = '[72,72]' ]
    told properties architecture | jq -e 'all(.[]; startswith("gfx942:"))'
    for answer in "vram bytes" "properties total_memory"; do
        # shellcheck disable=SC2086 # a step and a field
        [ "$(told $answer)" = "[$((60 * GIB)),$((60 * GIB))]" ]
    done
    # Free is what the slice has left, with what it has itself taken off, on the card where it took it.
    told mem_get_info total | jq -e --argjson all $((60 * GIB)) 'length == 4 and all(.[]; . == $all)'
    told mem_get_info free | jq -e --argjson gib $GIB '
        length == 4 and all(.[]; . > 58 * $gib and . <= 60 * $gib) and .[0] == .[2] and .[1] - .[3] >= $gib and .[1] - .[3] < 1.5 * $gib'

    # vLLM compares what is free before and after it profiles; a neighbour's memory is nothing to it.
    engine kill --signal USR1 sdg-first-$ID
    wait_for "the neighbour to free its memory" grep -q freed "$WORK/first"
    engine kill --signal USR1 sdg-vllm-$ID
    wait_for "vLLM's second look" told_again 1
    engine exec --detach sdg-first-$ID /bin/sh -c '/opt/sdg/hip-hold 95G >/tmp/out'
    wait_for "the neighbour's new memory" engine exec sdg-first-$ID grep -q holding /tmp/out
    engine kill --signal USR1 sdg-vllm-$ID
    wait_for "vLLM's third look" told_again 2
    # (Parts of one array, as in .[2:4] == .[4:6], are always equal to jq 1.6.)
    told mem_get_info free | jq -e 'length == 8 and .[4] == .[2] and .[5] == .[3] and .[6] == .[2] and .[7] == .[3]'

    engine kill --signal TERM sdg-first-$ID sdg-vllm-$ID
    ended_with 0 "$first" "$vllm"
    has "$WORK/vllm" done
}
