# preset: mi300x
# Hostile images by the doors that need no engine: sdg-runtime, and CRI-O's hooks. What they are, and what must be so of each:
# hostile.bash.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    . "$PROJECT/tests/e2e/bundle.bash"
    . "$PROJECT/tests/e2e/hostile.bash" && hostile_setup
    # An installation of its own: a container may get so far as to write into it.
    cp -a "$SDG_DIST" "$WORK/dist"
    SDG=$WORK/dist/usr/bin/sdg
    configure_sdg "$NO_GRACE"
    BUNDLE=$WORK/bundle
    mkdir "$BUNDLE"
}

teardown() {
    runtime delete --force "sdg-$$" >/dev/null 2>&1 || true
    slices_teardown
}

# bundle IMAGE ROOT HOOKS: of a container of the image.
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

@test "sdg-runtime: hostile images are held or refused, and touch nothing outside" {
    # Its createRuntime hook sees all with runc; with crun a createContainer hook has to, which a user namespace keeps from it.
    [ "$SDG_RUNTIME" = runc ] || EXCEPTIONS=("${LINKS_TO_CRUN[@]}" etc-link=refused etc-up=refused user-namespace=refused read-only-medium=held)
    every_image by_runtime "${EXCEPTIONS[@]}"
}

@test "CRI-O's hooks: hostile images are held or refused, and touch nothing outside" {
    # Where a link leads to nothing our own hook makes nothing. Sysfs is mounted by the runtime first, on no link.
    every_image by_hooks {preload-link,preload-up,etc-link,etc-up,run-link,sdg-link,limits-link,usage-link,shim-link}=refused \
        sys-link=refused user-namespace=refused read-only-medium=held
}

@test "sdg-runtime: an image that changes while its containers are made leads nowhere" { exchanged by_runtime; }
@test "CRI-O's hooks: an image that changes while its containers are made leads nowhere" { exchanged by_hooks; }

@test "CRI-O's hooks: the host's shim stays read-only in a container whose mounts are exchanged while they are made" {
    HELD=(/sh -c 'for file in /run/sdg/libsdg.so /other/shim; do echo written >>$file; done 2>/dev/null; exec /libc-kfd 4096')
    exchanged by_hooks run/sdg/libsdg.so other/shim
}
