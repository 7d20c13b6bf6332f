# Podman, Docker and systemd's own units on a machine that sdg is installed on.

setup_file() {
    . "$PROJECT/tests/machine/machine.bash"
    mkdir -p /etc/containers/containers.conf.d
    # ROCm's user space and our programs for every container: there is no registry to fetch an image from.
    printf '[containers]\nvolumes = ["/mnt/rocm/usr:/usr:ro", "/mnt/project/target/e2e/bin:/opt/sdg:ro"]\n' \
        >/etc/containers/containers.conf.d/tests.conf
    sdg setup podman
    image_tar >/var/tmp/image.tar
    podman import --quiet --change "$VLLM_PATH" /var/tmp/image.tar "$IMAGE"
    podman tag "$IMAGE" docker.io/rocm/vllm:latest
}

setup() { . "$PROJECT/tests/machine/machine.bash"; }

SLICE=(--annotation=sdg.memory=20Gi --annotation=sdg.compute=250m)

@test "a container with a slice, by Podman with cgroups of systemd's: 20 GiB, and the byte beyond is out of memory" {
    [ "$(podman info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}')" = "systemd v2" ]
    run podman run --rm "${SLICE[@]}" "$IMAGE" /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((20 * GIB)) ]
    [ "$(step beyond-total refused)" = true ]
    wait_for "the slice's end" no_slice_is_left
}

@test "a guarded one, by the agent of the service" {
    run podman run --rm "${SLICE[@]}" --annotation=sdg.enforcement=guarded "$IMAGE" /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step beyond-total refused)" = true ]
    wait_for "the slice's end" no_slice_is_left
}
