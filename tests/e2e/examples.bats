# preset: mi300x
# The files of examples/ as they are, by the programs that people give them to: Podman's own generator of units, podman-compose,
# Docker Compose. rocm/vllm is a stand-in that takes memory as vLLM does.

setup_file() {
    . "$PROJECT/tests/e2e/engine.bash"
    . "$PROJECT/tests/e2e/examples.bash"
    engine_setup
    export OPTIONS_TEXT="${OPTIONS[*]}"
    vllm_image "$WORK/image"
    compose_override >"$WORK/override.yaml"
}

setup() {
    . "$PROJECT/tests/e2e/engine.bash"
    . "$PROJECT/tests/e2e/examples.bash"
    read -ra OPTIONS <<<"$OPTIONS_TEXT"
}

teardown_file() {
    . "$PROJECT/tests/e2e/engine.bash"
    engine_teardown
}

podman_with_the_image() {
    podman_of_the_test
    podman image exists rocm/vllm:latest ||
        tar -C "$WORK/image" -c . | podman import --quiet --change "$VLLM_PATH" - rocm/vllm:latest
}

@test "quadlets: what Podman's generator makes of them starts both servers on their slices, and stops them" {
    podman_with_the_image
    run quadlet_units
    echo "$output"
    [ "$status" -eq 0 ]
    for unit in vllm-large vllm-small; do $(exec_of "$unit" ExecStart); done
    both_serve podman systemd-vllm-large systemd-vllm-small
    for unit in vllm-large vllm-small; do $(exec_of "$unit" ExecStop); done
    no_slice_is_left
}

@test "podman-compose passes the annotations on; the lines that name Docker's runtime are left out" {
    podman_with_the_image
    mkdir "$WORK/compose"
    sed '/^    runtime: sdg$/d' "$PROJECT/examples/compose/compose.yaml" >"$WORK/compose/compose.yaml"
    compose=(podman-compose --file "$WORK/compose/compose.yaml" --file "$WORK/override.yaml")
    "${compose[@]}" up --detach
    both_serve podman compose_large_1 compose_small_1
    "${compose[@]}" down --timeout 1
    no_slice_is_left
}

@test "Docker Compose starts both servers on their slices, and takes them down" {
    engine_configured docker
    dockerd --config-file "$WORK/root/etc/docker/daemon.json" --host "unix://$WORK/docker.sock" --data-root "$WORK/data" \
        --exec-root "$WORK/exec" --pidfile "$WORK/docker.pid" --iptables=false --ip6tables=false --bridge=none \
        --storage-driver vfs --default-ulimit nofile=1024:1024 >"$WORK/docker.log" 2>&1 3>&- &
    ENGINE_PID=$!
    export DOCKER_HOST=unix://$WORK/docker.sock HF_TOKEN=of-the-caller
    wait_for dockerd docker version || { tail -n 20 "$WORK/docker.log"; return 1; }
    tar -C "$WORK/image" -c . | docker import --change "$VLLM_PATH" - rocm/vllm:latest >/dev/null
    compose=(docker compose --file "$PROJECT/examples/compose/compose.yaml" --file "$WORK/override.yaml")
    "${compose[@]}" up --detach
    both_serve docker compose-large-1 compose-small-1
    docker logs compose-large-1 | grep 'token: of-the-caller'
    "${compose[@]}" down --timeout 1 --volumes
    no_slice_is_left
    kill "$ENGINE_PID"
    wait "$ENGINE_PID"
}
