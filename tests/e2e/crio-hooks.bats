# preset: mi300x
# CRI-O's hooks.d. No Debian suite has CRI-O, so this is not CRI-O: it is our hook files put into a container's config
# as CRI-O puts them there (path, arguments, environment, time-out by stage), and the runtime calls them with a state
# on stdin. Nothing edits the config: devices, files and limits come from the hooks alone.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    . "$PROJECT/tests/e2e/engine.bash"
    . "$PROJECT/tests/e2e/bundle.bash"
    SDG=$SDG_DIST/usr/bin/sdg
    BUNDLE=$WORK/bundle
    mkdir -p "$BUNDLE/rootfs"
    image_tree "$BUNDLE/rootfs"
}

teardown() {
    runtime delete --force "sdg-$$" >/dev/null 2>&1 || true
    slices_teardown
}

# configure ANNOTATIONS COMMAND…: the bundle's config, as CRI-O would have it but for the hooks nothing of ours.
configure() {
    local annotations=$1 mounts
    shift
    mounts=$(jq --null-input --arg usr "$SDG_ROOTFS/usr" --arg programs "$PROJECT/target/e2e/bin" \
        '[["/usr", $usr], ["/opt/sdg", $programs]]')
    bundle_config "$(crio_hooks)" "$annotations" "$mounts" "$@"
}

start() { runtime run --bundle "$BUNDLE" "sdg-$$" </dev/null; }

SLICE='{"sdg.memory": "20Gi", "sdg.compute": "250m", "io.kubernetes.cri-o.ContainerType": "container"}'

@test "a HIP program sees its 20Gi slice, is refused beyond it, and the slice is gone afterwards" {
    configure "$SLICE" /opt/sdg/hip-mem
    run start
    echo "$output"
    [ "$status" -eq 0 ]
    saw_a_slice_of 20
    no_slice_is_left
}

@test "its queues have the slice's mask, and its files cannot be written" {
    configure "$SLICE" /bin/sh -c '/opt/sdg/hip-queues >/dev/null
        for file in /run/sdg/limits /etc/ld.so.preload /run/sdg/libsdg.so; do
            test -e $file || echo "no $file"; (echo x >>$file) 2>/dev/null && echo "wrote $file"; done; true'
    run start
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output != *"no /"* && $output != *"wrote /"* ]]
    device_log | jq -se '([.[] | select(.event == "queue" and (.kind | test("sdma") | not)) | [.pid, .queue]] | unique) as $queues
        | [.[] | select(.event == "mask")] as $masks
        | ($queues | length > 0) and ($queues - [$masks[] | [.pid, .queue]] == []) and all($masks[]; .units <= 72)'
}

@test "what does not fit stops the container, and nothing is left" {
    configure '{"sdg.memory": "900Gi"}' /opt/sdg/hip-mem
    run start
    echo "$output"
    [ "$status" -ne 0 ]
    # crun keeps what a hook says to itself.
    [ "$SDG_RUNTIME" = crun ] || [[ $output == *"sdg.memory: 900Gi"* ]]
    no_slice_is_left
}

@test "a container that the shim does not get into does not start" {
    configure "$SLICE" /opt/sdg/raw-kfd 1073741824
    run start
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$SDG_RUNTIME" = crun ] || [[ $output == *"/opt/sdg/raw-kfd is a static program"* ]]
    no_slice_is_left
}

@test "the pod's sandbox is left alone" {
    configure '{"sdg.memory": "20Gi", "io.kubernetes.cri-o.ContainerType": "sandbox"}' /bin/ls /dev/kfd
    run start
    [ "$status" -ne 0 ]
    [[ $output == *"/dev/kfd"* ]]
    no_slice_is_left
}

@test "links in an image lead nowhere outside it" {
    mkdir "$WORK/host"
    rm -rf "$BUNDLE/rootfs/etc" "$BUNDLE/rootfs/run"
    ln -s "$WORK/host" "$BUNDLE/rootfs/etc"
    ln -s "../../../../../../../..$WORK/host" "$BUNDLE/rootfs/run"
    configure "$SLICE" /bin/sh -c 'echo started'
    run start
    echo "$output"
    # Where the links lead in the image, nothing is; so the container starts, or fails there and not on the host.
    [ -z "$(ls -A "$WORK/host")" ]
    [ ! -e /run/sdg/limits ]
}

@test "a container that another door gave its slice has no second one" {
    configure "$SLICE" /opt/sdg/hip-mem
    configure_sdg
    run sdg_runtime run --bundle "$BUNDLE" "sdg-$$" </dev/null
    echo "$output"
    [ "$status" -eq 0 ]
    saw_a_slice_of 20
    no_slice_is_left
}
