# preset: mi300x
# Slices on containerd: by `ctr` with our runtime, by the CRI with our handler, by CDI names.

setup_file() {
    . "$PROJECT/tests/e2e/engine.bash"
    . "$PROJECT/tests/e2e/containerd.bash"
    engine_setup
    engine_configured containerd
    containerd_start
    export OPTIONS_TEXT="${OPTIONS[*]}" HANDLER=sdg
}

setup() {
    . "$PROJECT/tests/e2e/engine.bash"
    . "$PROJECT/tests/e2e/containerd.bash"
    read -ra OPTIONS <<<"$OPTIONS_TEXT"
}

teardown_file() {
    . "$PROJECT/tests/e2e/engine.bash"
    . "$PROJECT/tests/e2e/containerd.bash"
    containerd_teardown
}

# task NAME [OPTION…] -- COMMAND…: ctr run of a container with ROCm's root file system.
task() {
    local name=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    ctr run --rm --rootfs --runc-binary "$WORK/sdg-runtime" "${options[@]}" \
        --mount "type=bind,src=$PROJECT/target/e2e/bin,dst=/opt/sdg,options=rbind:ro" "$SDG_ROOTFS" "$name" "$@"
}

@test "ctr: a HIP program sees its 20Gi slice, is refused beyond it, and the slice is gone afterwards" {
    run task ctr-slice --annotation sdg.memory=20Gi --annotation sdg.exostellar.io/compute=250m -- /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_a_slice_of 20
    [ "$(step device multiprocessors)" -eq 72 ]
    no_slice_is_left
}

@test "ctr: what does not fit is refused with our line, and nothing is left" {
    run task ctr-large --annotation sdg.memory=900Gi -- /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: sdg.memory: 900Gi"* ]]
    no_slice_is_left
}

@test "ctr: without annotations a container has no GPU" {
    run task ctr-none -- /bin/ls /dev/kfd
    [ "$status" -ne 0 ]
    no_slice_is_left
}

@test "ctr: a killed container leaves no slice" {
    task ctr-killed --annotation sdg.memory=20Gi -- /opt/sdg/hip-hold 1G >"$WORK/out" 2>&1 3>&- &
    local task=$!
    wait_for "the program to hold its memory" grep -q holding "$WORK/out"
    [ "$(slices | jq -r '.[0].container')" = ctr-killed ]
    ctr task kill --signal KILL ctr-killed
    ended_with 137 "$task"
    wait_for "the slice to be released" no_slice_is_left
}

by_ctr() {
    local options=("${ASKED[@]}")
    case $1 in
    read-only) options+=(--read-only) ;;
    privileged) options+=(--privileged) ;;
    esac
    ctr run --rm --rootfs --runc-binary "$WORK/sdg-runtime" "${options[@]}" "$2" "hostile-$1" "${HELD[@]}"
}

# ctr gives no user namespace to a container whose root file system it is told, and mounts a tmpfs over its /run.
@test "ctr: hostile images are held or refused, and touch nothing outside" {
    . "$PROJECT/tests/e2e/hostile.bash" && hostile_setup
    echo "$NO_GRACE" >>"$WORK/config.toml"
    every_image by_ctr user-namespace= limits-directory=held
    exchanged by_ctr
}

@test "CRI: the handler gives a pod's container its slice and leaves the sandbox alone" {
    asked=(sdg.memory=20Gi sdg.exostellar.io/compute=250m)
    sandbox=$(pod cri-slice "${asked[@]}")
    no_slice_is_left
    id=$(container "$sandbox" cri-slice /opt/sdg/hip-mem "${asked[@]}")
    start "$id"
    wait_for "the program's end" exited "$id"
    output=$(log_of cri-slice)
    echo "$output"
    saw_a_slice_of 20
    [ "$(step device multiprocessors)" -eq 72 ]
    wait_for "the slice to be released" no_slice_is_left
    remove_pod "$sandbox"
}

@test "CRI: what does not fit is refused with our line" {
    sandbox=$(pod cri-large sdg.memory=900Gi)
    id=$(container "$sandbox" cri-large /opt/sdg/hip-mem sdg.memory=900Gi)
    run start "$id"
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg.memory: 900Gi"* ]]
    no_slice_is_left
    remove_pod "$sandbox"
}

@test "CRI: a named slice by CDI has one limit over two containers" {
    sdg slice create --name llama --memory 10Gi --compute 100m
    sandbox=$(pod cri-named)
    one=$(CDI=sdg.exostellar.io/slice=llama container "$sandbox" named-one "/opt/sdg/hip-hold 6G")
    start "$one"
    if [[ $(containerd --version) == *' 1.6.'* ]]; then
        # It knows no CDI and says nothing: the container is there, without any GPU.
        wait_for "the program's end" exited "$one"
        log_of named-one | grep -q hipErrorNoDevice
        remove_pod "$sandbox"
        sdg slice delete llama
        return
    fi
    wait_for "the first container" grep -q holding "$WORK/logs/named-one.log"
    two=$(CDI=sdg.exostellar.io/slice=llama container "$sandbox" named-two "/opt/sdg/hip-hold 6G")
    start "$two"
    wait_for "the second container's end" exited "$two"
    log_of named-two
    log_of named-two | grep -q hipErrorOutOfMemory
    run sdg slice delete llama
    [ "$status" -ne 0 ]
    remove_pod "$sandbox"
    wait_for "the slice to be free" sdg slice delete llama
    no_slice_is_left
}
