# preset: mi300x
# Hostile images by the doors that need no daemon: Podman, sdg-runtime, CRI-O's hooks. containerd.bats and docker.bats have
# the same images. What they are, and what must be so: hostile.bash.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    . "$PROJECT/tests/e2e/bundle.bash"
    . "$PROJECT/tests/e2e/hostile.bash" && hostile_setup
    configure_sdg "$NO_GRACE"
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}"
    BUNDLE=$WORK/bundle
    mkdir -p "$BUNDLE"
}

teardown() {
    runtime delete --force "sdg-$$" >/dev/null 2>&1 || true
    slices_teardown
}

by_podman() {
    local options=("${ASKED[@]}")
    case $1 in
    read-only) options+=(--read-only) ;;
    privileged) options+=(--privileged) ;;
    user-namespace) options+=(--uidmap=0:100000:65536) && chown -R 100000:100000 "$2" ;;
    esac
    podman_run "$SDG_RUNTIME" "$HOOKS" --rm "${options[@]}" --rootfs "$2" "${HELD[@]}"
}

# bundle IMAGE ROOT HOOKS: the bundle of a container.
bundle() {
    local edit='.root.path = $root | .root.readonly = ($image == "read-only")' asked
    case $1 in
    privileged) edit+='| .linux.resources.devices = [{allow: true, access: "rwm"}]' ;;
    user-namespace)
        chown -R 100000:100000 "$2"
        edit+='| .linux.namespaces += [{type: "user"}]
            | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] | .linux.gidMappings = .linux.uidMappings'
        ;;
    esac
    asked='{"sdg.memory": "1Gi", "sdg.compute": "100m", "io.kubernetes.cri-o.ContainerType": "container"}'
    bundle_config "$3" "$asked" '[]' "${HELD[@]}"
    jq --arg image "$1" --arg root "$2" "$edit" "$BUNDLE/config.json" >"$WORK/config" && mv "$WORK/config" "$BUNDLE/config.json"
}

by_runtime() {
    bundle "$1" "$2" '{}'
    sdg_runtime run --bundle "$BUNDLE" "sdg-$$"
}

by_hooks() {
    bundle "$1" "$2" "$(crio_hooks)"
    runtime run --bundle "$BUNDLE" "sdg-$$"
}

@test "Podman: hostile images are held or refused, and touch nothing outside" { every_image by_podman; }
@test "sdg-runtime: hostile images are held or refused, and touch nothing outside" { every_image by_runtime; }
@test "CRI-O's hooks: hostile images are held or refused, and touch nothing outside" { every_image by_hooks; }

@test "Podman: an image that changes while its containers are made leads nowhere" { exchanged by_podman; }
@test "sdg-runtime: an image that changes while its containers are made leads nowhere" { exchanged by_runtime; }
@test "CRI-O's hooks: an image that changes while its containers are made leads nowhere" { exchanged by_hooks; }
