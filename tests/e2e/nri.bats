# preset: mi300x-8
# Slices by the labels of Kubernetes pods: containerd, driven as the kubelet drives it, and our plugin of its Node
# Resource Interface.

setup_file() {
    . "$PROJECT/tests/e2e/nri.bash"
    nri_setup
}

setup() { . "$PROJECT/tests/e2e/nri.bash"; }

teardown() { [ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 20 "$WORK/agent.log"; }

teardown_file() {
    . "$PROJECT/tests/e2e/nri.bash"
    nri_teardown
}

GIB=$((1024 * 1024 * 1024))

@test "labels: a HIP program sees the pod's slice and is refused beyond it; restarts keep the slice, removal frees it" {
    sandbox=$(pod labels -- "${EXAMPLE[@]}")
    slice=$(slices | jq -r '.[0].id')
    [ "$(slices | jq -r '.[0] | "\(.container) \(.state) \(.gpus | length)"')" = "default/labels running 1" ]
    [ "$(slices | jq -r '.[0].gpus[0] | "\(.memory_bytes) \(.memory_limit_bytes)"')" = "$((4 * GIB)) $((20 * GIB))" ]
    run_in "$sandbox" labels /opt/sdg/hip-mem -- "${EXAMPLE[@]}"
    saw_a_slice_of 20
    run_in "$sandbox" labels-again /opt/sdg/hip-mem -- "${EXAMPLE[@]}"
    saw_a_slice_of 20
    [ "$(slices | jq -r 'map(.id) | join(" ")')" = "$slice" ]
    remove_pod "$sandbox"
    no_slice_is_left
}

@test "annotations do as well, in the short form" {
    sandbox=$(pod annotations sdg.memory=10Gi sdg.compute=250m)
    run_in "$sandbox" annotations /opt/sdg/hip-mem sdg.memory=10Gi sdg.compute=250m
    saw_a_slice_of 10
    [ "$(step device multiprocessors)" -eq 72 ]
    remove_pod "$sandbox"
    no_slice_is_left
}

@test "containers of a pod have one limit together, and only those that are named" {
    labels=(sdg.exostellar.io/memory=10Gi sdg.exostellar.io/containers=load.main)
    sandbox=$(pod shared -- "${labels[@]}")
    holder=$(container "$sandbox" load "/opt/sdg/hip-hold 6G" -- "${labels[@]}")
    start "$holder"
    wait_for "the first container" grep -q holding "$WORK/logs/load.log"
    run_in "$sandbox" main "/opt/sdg/hip-hold 6G" -- "${labels[@]}"
    grep -q hipErrorOutOfMemory <<<"$output"
    run_in "$sandbox" sidecar "/opt/sdg/hip-hold 1G" -- "${labels[@]}"
    grep -q hipErrorNoDevice <<<"$output"
    [ "$(slices | jq length)" -eq 1 ]
    remove_pod "$sandbox"
    no_slice_is_left
}

@test "a pod without a request has no GPU" {
    sandbox=$(pod none -- app=web)
    run_in "$sandbox" none "/bin/ls /dev" -- app=web
    ! grep -q kfd <<<"$output"
    no_slice_is_left
    remove_pod "$sandbox"
}

# refused NAME LABEL: a pod whose container is not made; what the runtime said is in $output.
refused() {
    local sandbox
    sandbox=$(pod "$1" -- "$2")
    run container "$sandbox" "$1" /opt/sdg/hip-mem -- "$2"
    echo "$output"
    remove_pod "$sandbox"
}

@test "what does not fit and what is wrong fails the pod with our line; others are untouched" {
    sandbox=$(pod untouched -- sdg.exostellar.io/memory=150Gi)
    refused large sdg.exostellar.io/memory=900Gi
    [[ $output == *"sdg: sdg.memory: 900Gi is more than any GPU here has"* ]]
    refused wrong sdg.exostellar.io/memory=plenty
    [[ $output == *'sdg: sdg.exostellar.io/memory: "plenty" is no amount of memory'* ]]
    [ "$(slices | jq -r 'map(.container) | join(" ")')" = default/untouched ]
    run_in "$sandbox" untouched /opt/sdg/hip-mem -- sdg.exostellar.io/memory=150Gi
    remove_pod "$sandbox"
    no_slice_is_left
}

@test "a plugin that died: no GPU, and the slice afterwards; a pod that ended meanwhile leaves none" {
    before=$(pod before -- "${EXAMPLE[@]}")
    agent_stop
    meanwhile=$(pod meanwhile -- "${EXAMPLE[@]}")
    run_in "$meanwhile" meanwhile "/bin/ls /dev" -- "${EXAMPLE[@]}"
    ! grep -q kfd <<<"$output"
    remove_pod "$before"
    agent_start
    wait_for "the slice of the pod that ended to be released" no_slice_is_left
    run_in "$meanwhile" meanwhile-again /opt/sdg/hip-mem -- "${EXAMPLE[@]}"
    saw_a_slice_of 20
    remove_pod "$meanwhile"
    no_slice_is_left
}

@test "a plugin that the runtime starts from its directory" {
    # Two of us would adjust the same containers.
    agent_stop
    mkdir -p "$WORK/plugins"
    printf '#!/bin/sh\nexec %s nri 2>>%s\n' "$SDG_DIST/usr/bin/sdg-agent ${OPTIONS[*]}" "$WORK/agent.log" \
        >"$WORK/plugins/10-sdg"
    chmod 755 "$WORK/plugins/10-sdg"
    kill "$ENGINE_PID"
    wait_for "containerd's end" bash -c "! kill -0 $ENGINE_PID"
    containerd --config "$WORK/root/etc/containerd/config.toml" >>"$WORK/containerd.log" 2>&1 3>&- &
    echo $! >"$WORK/engine.pid"
    wait_for containerd ctr version
    sandbox=$(pod launched -- "${EXAMPLE[@]}")
    run_in "$sandbox" launched /opt/sdg/hip-mem -- "${EXAMPLE[@]}"
    saw_a_slice_of 20
    remove_pod "$sandbox"
    no_slice_is_left
}
