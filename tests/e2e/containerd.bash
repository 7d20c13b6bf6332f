# Loaded by the tests of containerd, after engine.bash: the daemon, an image without a registry, and pods as the kubelet
# makes them, by the Container Runtime Interface.
. "$PROJECT/tests/e2e/cri.bash"

# containerd_start: with the configuration below $WORK/root.
containerd_start() {
    mkdir -p /run/containerd "$WORK/logs"
    CONFIG=$WORK/root/etc/containerd/config.toml
    # Its data where nobody else's is, a pause image that can be had without a registry, and no need of CAP_SYS_RESOURCE.
    sed -i "1i root = \"$WORK/data\"" "$CONFIG"
    image_archive "$WORK/image.tar"
    sed -i "s|^ *\[plugins.\"io.containerd.grpc.v1.cri\"\]|&\nsandbox_image = \"localhost/base:1\"\nrestrict_oom_score_adj = true|" "$CONFIG"
    containerd --config "$CONFIG" >"$WORK/containerd.log" 2>&1 3>&- &
    export ENGINE_PID=$!
    wait_for containerd ctr version
    grep -q "failed to load plugin.*cri" "$WORK/containerd.log" && cat "$WORK/containerd.log" >&2
    ctr --namespace k8s.io image import "$WORK/image.tar" >/dev/null
}

# Ends what a failed test left running, whose shims would keep the test's output open, and the daemon.
containerd_teardown() {
    ctr --namespace k8s.io task ls --quiet | xargs -r -n 1 ctr --namespace k8s.io task rm --force >/dev/null 2>&1 || true
    engine_teardown
}

# image_archive FILE: an OCI image localhost/base:1 whose program sleeps; ROCm is mounted into it.
image_archive() {
    local tree=$WORK/image layout=$WORK/layout
    image_tree "$tree"
    cp /bin/busybox "$tree/busybox"
    mkdir -p "$layout/blobs/sha256"
    tar -C "$tree" -cf "$WORK/layer.tar" .
    blob() { local sum; sum=$(sha256sum "$1" | cut -d ' ' -f 1); cp "$1" "$layout/blobs/sha256/$sum"; echo "$sum"; }
    local layer config manifest
    layer=$(blob "$WORK/layer.tar")
    jq -n --arg layer "sha256:$layer" '{architecture: "amd64", os: "linux", rootfs: {type: "layers", diff_ids: [$layer]},
        config: {Cmd: ["/busybox", "sleep", "100000"]}}' >"$WORK/blob"
    config=$(blob "$WORK/blob")
    jq -n --arg config "sha256:$config" --argjson configsize "$(stat -c %s "$layout/blobs/sha256/$config")" \
        --arg layer "sha256:$layer" --argjson layersize "$(stat -c %s "$WORK/layer.tar")" '{schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $configsize},
        layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $layer, size: $layersize}]}' >"$WORK/blob"
    manifest=$(blob "$WORK/blob")
    jq -n --arg manifest "sha256:$manifest" --argjson size "$(stat -c %s "$layout/blobs/sha256/$manifest")" \
        '{schemaVersion: 2, manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $manifest,
        size: $size, annotations: {"io.containerd.image.name": "localhost/base:1"}}]}' >"$layout/index.json"
    echo '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
    tar -C "$layout" -cf "$1" .
}

# pod NAME [ANNOTATION…] [-- LABEL…]: a sandbox with the handler $HANDLER; prints its id.
pod() {
    { echo "config {"; cri_pod "$@"; echo "} runtime_handler: \"$HANDLER\""; } |
        cri RunPodSandbox RunPodSandboxRequest RunPodSandboxResponse | cri_field pod_sandbox_id
}

# container POD NAME PROGRAM [ANNOTATION…] [-- LABEL…]: created in a pod of these; prints its id. $CDI: a device.
container() {
    local pod=$1 name=$2 program=$3
    shift 3
    {
        echo "pod_sandbox_id: \"$pod\" config { metadata { name: \"$name\" } image { image: \"localhost/base:1\" }"
        echo "log_path: \"$name.log\" mounts { container_path: \"/usr\" host_path: \"$SDG_ROOTFS/usr\" readonly: true }"
        echo "mounts { container_path: \"/opt/sdg\" host_path: \"$PROJECT/target/e2e/bin\" readonly: true }"
        printf 'command: "%s"\n' $program
        [ -z "${CDI:-}" ] || echo "CDI_devices { name: \"$CDI\" }"
        echo '} sandbox_config {'
        cri_pod "$name" "$@"
        echo '}'
    } | cri CreateContainer CreateContainerRequest CreateContainerResponse | cri_field container_id
}

start() { echo "container_id: \"$1\"" | cri StartContainer StartContainerRequest Empty; }

exited() { echo "container_id: \"$1\"" | cri ContainerStatus ContainerStatusRequest ContainerStatusResponse | grep -q 'state: 2'; }

# remove_pod POD [CONTAINER…]: by the kubelet's steps, which removes containers before their pod. containerd from 1.7.26 removes
# those that are left itself, and waits for itself for ever where a plugin registers at that moment.
remove_pod() {
    local container
    echo "pod_sandbox_id: \"$1\"" | cri StopPodSandbox StopPodSandboxRequest Empty
    for container in "${@:2}"; do
        echo "container_id: \"$container\"" | cri RemoveContainer RemoveContainerRequest Empty
    done
    echo "pod_sandbox_id: \"$1\"" | cri RemovePodSandbox RemovePodSandboxRequest Empty
}

# What a container of the CRI printed.
log_of() { sed 's/^[^ ]* [^ ]* [^ ]* //' "$WORK/logs/$1.log"; }
