# Root's Podman as Debian sets it up: cgroups of systemd's, quadlets, restarts, health checks, pods.

setup_file() {
    . "$PROJECT/tests/machine/machine.bash"
    mkdir -p /etc/containers/containers.conf.d
    # There is no registry to fetch an image from: ROCm's user space and our programs are mounted in every container.
    printf '[containers]\nvolumes = ["/mnt/rocm/usr:/usr:ro", "/mnt/project/target/e2e/bin:/opt/sdg:ro"]\n' \
        >/etc/containers/containers.conf.d/tests.conf
    sdg setup podman
    . "$PROJECT/tests/e2e/engine.bash"
    vllm_image /var/lib/vllm-image
    tar -C /var/lib/vllm-image -c . | podman import --quiet --change "$VLLM_PATH" - "docker.io/$IMAGE"
}

setup() { . "$PROJECT/tests/machine/machine.bash"; }

teardown() {
    [ -n "${BATS_TEST_COMPLETED:-}" ] || journalctl --boot --no-pager --lines=40
    podman rm --force --ignore --time 0 paused again checked played-hip >/dev/null
}

@test "a slice with cgroups of systemd's: 20 GiB, and the byte beyond is out of memory" {
    [ "$(podman info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}')" = "systemd v2" ]
    run podman run --rm "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_20_gib
    wait_for "the slice's end" no_slice_is_left
}

@test "a guarded slice, by the agent of the service" {
    run podman run --rm "${SLICE[@]}" --annotation=sdg.enforcement=guarded "$IMAGE" /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    saw_20_gib
    wait_for "the slice's end" no_slice_is_left
}

@test "the agent's watchdog kills a process that has more than its slice" {
    # It makes its system calls itself, below the shim.
    run podman run --rm "${SLICE[@]}" "$IMAGE" /bin/sh -c '/opt/sdg/raw-adversary allocation; echo "ended with $?"'
    echo "$output"
    [[ $output == *"ended with 137" ]]
    wait_for "the slice's end" no_slice_is_left
}

@test "quadlets: both servers have their slices, one that is killed is started anew with its slice, both end" {
    cp "$PROJECT"/examples/quadlet/*.container /etc/containers/systemd/
    systemctl daemon-reload
    systemctl start vllm-large vllm-small
    both_serve podman systemd-vllm-large systemd-vllm-small
    before=$(slices | jq -r 'map(.id) | sort | join(" ")')
    podman kill --signal KILL systemd-vllm-large
    restarted() { [ "$(systemctl show --property=NRestarts --value vllm-large)" -eq 1 ]; }
    wait_for "the restart" restarted
    both_serve podman systemd-vllm-large systemd-vllm-small
    [ "$(slices | jq -r 'map(.id) | sort | join(" ")')" != "$before" ]
}

@test "daemon-reload and daemon-reexec beside running containers change nothing for them" {
    before=$(slices | jq -c 'sort_by(.id) | map([.id, .state, .gpus, .pid])')
    systemctl daemon-reload
    systemctl daemon-reexec
    [ "$(ps -o comm= -p 1)" = systemd ]
    [ "$(slices | jq -c 'sort_by(.id) | map([.id, .state, .gpus, .pid])')" = "$before" ]
    run podman exec systemd-vllm-small /opt/sdg/hip-queues
    echo "$output"
    [ "$status" -eq 0 ]
    systemctl stop vllm-large vllm-small
    wait_for "the slices' end" no_slice_is_left
}

@test "a container that is paused is resized when it goes on" {
    podman run --detach --name=paused "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-loop 1
    wait_for "the loop" says podman paused '"looping"'
    podman pause paused
    run sdg slice resize "$(slices | jq -r '.[0].id')" --compute 125m
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"has not taken the new compute units"* ]]
    podman unpause paused
    masked() { jq -se 'map(select(.event == "mask")) | last | .units <= 40' /run/sdg-sim.log; }
    wait_for "the new mask" masked
    podman stop --time 20 paused
    wait_for "the slice's end" no_slice_is_left
}

@test "restart policies: a container that fails has a slice again each time, and none when it is removed" {
    podman run --detach --name=again --restart=on-failure:2 "${SLICE[@]}" "$IMAGE" /bin/sh -c '/opt/sdg/hip-mem; exit 3'
    over() { [ "$(podman inspect --format '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}' again)" = "exited 2 3" ]; }
    wait_for "the last start" over
    [ "$(podman logs again | grep -c '"step":"beyond-total"')" -eq 3 ]
    wait_for "the slice's end" no_slice_is_left
}

@test "a health check sees the slice's GPU" {
    podman run --detach --name=checked "${SLICE[@]}" --health-cmd '/opt/sdg/hip-queues' --health-interval=disable \
        "$IMAGE" /opt/sdg/hip-loop 1
    wait_for "the loop" says podman checked '"looping"'
    podman healthcheck run checked
}

@test "kube play: a pod's annotations are its containers'" {
    cat >/run/pod.yaml <<-YAML
		apiVersion: v1
		kind: Pod
		metadata:
		  name: played
		  annotations: {sdg.memory: 20Gi, sdg.compute: 250m}
		spec:
		  restartPolicy: Never
		  containers: [{name: hip, image: docker.io/$IMAGE, imagePullPolicy: Never, command: [/opt/sdg/hip-mem]}]
	YAML
    podman kube play --network=none /run/pod.yaml
    over() { [ "$(podman inspect --format '{{.State.Status}}' played-hip)" = exited ]; }
    wait_for "the container's end" over
    output=$(podman logs played-hip)
    echo "$output"
    saw_20_gib
    podman kube down /run/pod.yaml
    wait_for "the slice's end" no_slice_is_left
}

@test "podman build: RUN has no slice, and works beside them" {
    printf 'FROM docker.io/%s\nRUN test ! -e /dev/kfd && echo built\n' "$IMAGE" >/run/Containerfile
    run podman build --network=none --annotation sdg.memory=20Gi --file /run/Containerfile "$(mktemp -d)"
    echo "$output"
    [ "$status" -eq 0 ]
    no_slice_is_left
}
