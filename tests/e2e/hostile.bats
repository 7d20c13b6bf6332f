# preset: mi300x
# Hostile images on Podman. hostile_bundles.bats, containerd.bats and docker.bats have the same images; what they are, and what
# must be so of each: hostile.bash.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    . "$PROJECT/tests/e2e/hostile.bash" && hostile_setup
    echo "$NO_GRACE" >"$WORK/config.toml"
    OPTIONS+=(--config "$WORK/config.toml")
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}"
}
teardown() { slices_teardown; }

by_podman() {
    local options=("${ASKED[@]}")
    case $1 in
    read-only) options+=(--read-only) ;;
    privileged) options+=(--privileged) ;;
    user-namespace) options+=(--uidmap=0:100000:65536) && chown -R 100000:100000 "$2" ;;
    esac
    podman_run "$SDG_RUNTIME" "$HOOKS" --rm "${options[@]}" --rootfs "$2" "${HELD[@]}"
}

# Podman writes into /etc itself. In a user namespace the createContainer hook cannot read the container's config.
EXCEPTIONS=(etc-link=refused etc-up=refused etc-file=refused user-namespace=refused)

@test "hostile images are held or refused, and touch nothing outside" {
    [ "$SDG_RUNTIME" = runc ] || EXCEPTIONS+=("${LINKS_TO_CRUN[@]}")
    every_image by_podman "${EXCEPTIONS[@]}"
}

@test "an image that changes while its containers are made leads nowhere" {
    # Not /etc itself: Podman makes /etc/mtab where that leads to at the moment, with a slice or without.
    exchanged by_podman etc/ld.so.preload other/preload run/sdg other/sdg run/sdg/limits other/limits
}

# Known, and named in docs/threat-model.md: a directory with a mount in it may be renamed by root. It is the class of the
# static program: what the shim does not hold, the guard, the watchdog and the kernel's limit do.
@test "root renames /etc away: on a plain directory the shim is gone for programs that start later, on overlayfs it stays" {
    local root=$WORK/image
    cp -a "$PLAIN" "$root"
    cp /bin/busybox "$root/"
    HELD=(/sh -c "/busybox mv /etc /away; exec ${HELD[*]}")
    run by_podman plain "$root"
    echo "$output"
    [[ $output == *'"step":"beyond","errno":0'* ]]
    rm -rf "$root/away"
    mkdir -p "$root/etc"
    run by_podman plain "$root:O"
    echo "$output"
    [[ $output == *'"step":"beyond","errno":12'* ]]
}
