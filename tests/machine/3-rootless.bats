# An ordinary user's Podman in a session of his, by the broker of the agent.

setup_file() {
    . "$PROJECT/tests/machine/machine.bash"
    useradd --create-home --shell /bin/bash --groups render alice
    loginctl enable-linger alice
    wait_for "alice's service manager" systemctl is-active "user@$(id -u alice).service"
    tar -C /var/lib/vllm-image -c . >/run/image.tar
    as_alice podman import --quiet --change "$VLLM_PATH" /run/image.tar "docker.io/$IMAGE"
}

# The machine is connected to nothing, of which pasta would make a network.
ROOTLESS=(--group-add=keep-groups --network=none)

setup() { . "$PROJECT/tests/machine/machine.bash"; }

teardown() {
    [ -n "${BATS_TEST_COMPLETED:-}" ] || journalctl --boot --no-pager --lines=40
    as_alice podman rm --all --force --time 0 >/dev/null
}

@test "20 GiB in a session of a user's, with cgroups of his systemd's" {
    [ "$(as_alice podman info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}')" = "systemd v2" ]
    as_alice sdg doctor | grep 'the broker of sdg-agent places slices for this user'
    run as_alice podman run --rm "${ROOTLESS[@]}" "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_20_gib
    wait_for "the slice's end" no_slice_is_left
}

@test "exec sees the slice; the container outlives the session that started it" {
    as_alice podman run --detach --name=mine "${ROOTLESS[@]}" "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-loop 1
    wait_for "the loop" as_alice sh -c 'podman logs mine | grep looping'
    run as_alice podman exec mine /opt/sdg/hip-queues
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(slices | jq -r '.[0].user')" -eq "$(id -u alice)" ]
    as_alice podman stop --time 20 mine
    wait_for "the slice's end" no_slice_is_left
}

@test "a quadlet of a user's has its slice, and is there again after a kill" {
    as_alice mkdir -p .config/containers/systemd
    sed 's/^PodmanArgs=.*/PodmanArgs=--group-add=keep-groups --network=none/; /^PublishPort=/d; /^Volume=/d' \
        "$PROJECT/examples/quadlet/vllm-small.container" >/home/alice/.config/containers/systemd/vllm-small.container
    as_alice systemctl --user daemon-reload
    as_alice systemctl --user start vllm-small
    wait_for "the server" as_alice sh -c 'podman logs systemd-vllm-small | grep holding'
    as_alice podman kill --signal KILL systemd-vllm-small
    restarted() { [ "$(as_alice systemctl --user show --property=NRestarts --value vllm-small)" -eq 1 ]; }
    wait_for "the restart" restarted
    wait_for "the server" as_alice sh -c 'podman logs systemd-vllm-small | grep holding'
    slices_are 1
    as_alice systemctl --user stop vllm-small
    wait_for "the slice's end" no_slice_is_left
}
