# Docker as Debian sets it up: a service, cgroups of systemd's.

setup_file() {
    . "$PROJECT/tests/machine/machine.bash"
    sdg setup docker
    systemctl restart docker
    wait_for docker docker version
    tar -C /var/lib/vllm-image -c . | docker import --change "$VLLM_PATH" - "$IMAGE"
    # What the machine has when it is started anew: quadlets that are wanted at the start, a container of Docker's.
    docker create --name=always --restart=always "${DOCKER[@]}" "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-loop 1
}

setup() { . "$PROJECT/tests/machine/machine.bash"; }
DOCKER=(--runtime=sdg --network=none --volume=/mnt/rocm/usr:/usr:ro --volume=/mnt/project/target/e2e/bin:/opt/sdg:ro)

@test "20 GiB by Docker with the systemd driver" {
    [ "$(docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}')" = "systemd 2" ]
    run docker run --rm "${DOCKER[@]}" "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_20_gib
    wait_for "the slice's end" no_slice_is_left
}

@test "a restart of Docker's ends its containers and their slices; one with a policy has a slice again" {
    docker start always
    wait_for "the loop" says docker always '"looping"'
    before=$(slices | jq -r '.[0].id')
    systemctl restart docker
    again() { [ "$(slices | jq -r '.[0].id')" != "$before" ] && slices_are 1; }
    wait_for "its slice" again
}
