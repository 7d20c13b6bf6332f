# preset: mi300x
# Slices on Docker: by our runtime and annotations, by CDI names.

setup_file() {
    . "$PROJECT/tests/e2e/engine.bash"
    engine_setup
    engine_configured docker
    # No network and no storage driver that a bare machine might lack; a VM without CAP_SYS_RESOURCE.
    dockerd --config-file "$WORK/root/etc/docker/daemon.json" --host "unix://$WORK/docker.sock" --data-root "$WORK/data" \
        --exec-root "$WORK/exec" --pidfile "$WORK/docker.pid" --iptables=false --ip6tables=false --bridge=none \
        --storage-driver vfs --default-ulimit nofile=1024:1024 >"$WORK/docker.log" 2>&1 3>&- &
    export ENGINE_PID=$! DOCKER_HOST=unix://$WORK/docker.sock OPTIONS_TEXT="${OPTIONS[*]}"
    wait_for dockerd docker version || { tail -n 20 "$WORK/docker.log"; return 1; }
    image_tree "$WORK/image"
    tar -C "$WORK/image" -c . | docker import - base:1 >/dev/null
}

setup() {
    . "$PROJECT/tests/e2e/engine.bash"
    read -ra OPTIONS <<<"$OPTIONS_TEXT"
}

teardown_file() {
    . "$PROJECT/tests/e2e/engine.bash"
    engine_teardown
}

# container [DOCKER-OPTION…] COMMAND…: one of ROCm's user space. Every option that takes a value is --option=value.
container() {
    local options=()
    while [ "${1:0:2}" = -- ]; do
        options+=("$1")
        shift
    done
    docker run --network=none "${options[@]}" --volume "$SDG_ROOTFS/usr:/usr:ro" \
        --volume "$PROJECT/target/e2e/bin:/opt/sdg:ro" base:1 "$@"
}

@test "runtime: a HIP program sees its 20Gi slice, is refused beyond it, and the slice is gone afterwards" {
    run container --rm --runtime=sdg --annotation=sdg.memory=20Gi --annotation=sdg.compute=250m /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_a_slice_of 20
    [ "$(step device multiprocessors)" -eq 72 ]
    wait_for "the slice to be released" no_slice_is_left
}

@test "runtime: what does not fit is refused with our line, and nothing is left" {
    run container --rm --runtime=sdg --annotation=sdg.memory=900Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    [[ $output == *"sdg: sdg.memory: 900Gi"* ]]
    no_slice_is_left
}

@test "runtime: a container that is restarted has one slice each time" {
    container --detach --name=restarted --runtime=sdg --annotation=sdg.memory=20Gi /opt/sdg/hip-hold 1G
    for _ in 1 2; do
        wait_for "the program to hold its memory" sh -c 'docker logs --tail 1 restarted | grep -q holding'
        docker restart --time 0 restarted
        [ "$(slices | jq length)" -eq 1 ]
    done
    docker kill restarted
    wait_for "the slice to be released" no_slice_is_left
    docker rm restarted
}

@test "runtime: a privileged container with a slice is refused" {
    run container --rm --privileged --runtime=sdg --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    no_slice_is_left
}

# by_docker IMAGE ROOT: ROOT in the place of the container's root file system, which is a directory with the storage driver vfs.
by_docker() {
    local options=("${ASKED[@]}") id root status=0
    case $1 in
    read-only) options+=(--read-only) ;;
    privileged) options+=(--privileged) ;;
    esac
    id=$(docker create --network=none --runtime=sdg "${options[@]}" base:1 "${HELD[@]}")
    root=$WORK/data/vfs/dir/$(cat "$WORK/data/image/vfs/layerdb/mounts/$id/mount-id")
    mount --bind "$2" "$root"
    docker start --attach "$id" || status=$?
    umount "$root"
    docker rm --force "$id" >/dev/null
    return $status
}

@test "runtime: hostile images are held or refused, and touch nothing outside" {
    . "$PROJECT/tests/e2e/hostile.bash" && hostile_setup
    echo "$NO_GRACE" >>"$WORK/config.toml"
    # Docker reads /etc/passwd before its runtime runs.
    every_image by_docker user-namespace= etc-file=refused
    exchanged by_docker
}

@test "CDI: a named slice is a 10 GiB GPU with one limit over two containers, and stays" {
    sdg slice create --name llama --memory 10Gi --compute 100m
    run container --rm --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_a_slice_of 10
    container --detach --name=one --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-hold 6G
    wait_for "the first container" sh -c 'docker logs one | grep -q holding'
    run container --rm --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-hold 6G
    echo "$output"
    [ "$(step refused error)" = hipErrorOutOfMemory ]
    run sdg slice delete llama
    [[ $output == *"is used by container"* ]]
    docker rm --force one
    [ "$(slices | jq length)" -eq 1 ]
    sdg slice delete llama
    no_slice_is_left
}

@test "CDI: a whole GPU is claimed, and slices and whole GPUs keep each other out" {
    sdg cdi generate
    container --detach --name=whole --device=sdg.exostellar.io/gpu=0 /opt/sdg/hip-hold 100G
    wait_for "the whole GPU's container" sh -c 'docker logs whole | grep -q holding'
    run container --rm --runtime=sdg --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    docker rm --force whole
    wait_for "the GPU to be free" no_slice_is_left
    sdg slice create --name small --memory 1Gi
    run container --rm --device=sdg.exostellar.io/gpu=0 /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    sdg slice delete small
}

@test "names and annotations that disagree are refused, and so are two slices" {
    sdg slice create --name one --memory 10Gi
    sdg slice create --name two --memory 10Gi
    run container --rm --runtime=sdg --annotation=sdg.memory=20Gi --device=sdg.exostellar.io/slice=one /opt/sdg/hip-mem
    echo "$output"
    [[ $output == *"the annotations ask for something else"* ]]
    run container --rm --device=sdg.exostellar.io/slice=one --device=sdg.exostellar.io/slice=two /opt/sdg/hip-mem
    echo "$output"
    [[ $output == *"two slices"* ]]
    run container --rm --runtime=sdg --annotation=sdg.memory=10Gi --device=sdg.exostellar.io/slice=one /opt/sdg/hip-mem
    echo "$output"
    saw_a_slice_of 10
    sdg slice delete one two
    no_slice_is_left
}
