# Sourced: how Podman is called here, so that it works on a bare machine, in a VM without CAP_SYS_RESOURCE, and with
# cgroup v1, v2 or both mounted, of which Podman 5 warns at every call.
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

# crun refuses a machine that has both cgroup versions mounted; in a mount namespace of our own one can be hidden.
cgroups_are_hybrid() {
    [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ] && mountpoint -q /sys/fs/cgroup/unified
}

# podman_run RUNTIME HOOKS_DIR ARGUMENTS…: `podman run` with sdg's hooks.
podman_run() {
    local runtime=$1 hooks=$2
    shift 2
    podman_global "$runtime" --hooks-dir "$hooks" run --network=none --ulimit nofile=1024:1024 \
        --ulimit nproc=4096:4096 "$@"
}

# without_hybrid RUNTIME COMMAND…: a command that leads to a runtime, with cgroup v1 alone where crun would refuse both.
without_hybrid() {
    local runtime=$1
    shift
    if [ "$runtime" = crun ] && cgroups_are_hybrid; then
        # The arguments reach the inner shell as its own, never as text.
        # shellcheck disable=SC2016
        unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' crun-without-hybrid "$@"
    else
        "$@"
    fi
}

# podman_global RUNTIME ARGUMENTS…: podman with the options that every call needs.
podman_global() {
    local runtime=$1
    shift
    without_hybrid "$runtime" podman --runtime "$runtime" --cgroup-manager=cgroupfs --events-backend=none "$@"
}

# own_storage DIRECTORY: from here on Podman's images, containers and locks are there. Further lines of its configuration, those of
# the table `engine` first, on stdin.
own_storage() {
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/images"\nrunroot = "%s/run"\n' "$1" "$1" >"$1/storage.conf"
    { printf '[engine]\nlock_type = "file"\ntmp_dir = "%s/libpod"\n' "$1" && cat; } >"$1/containers.conf"
    export CONTAINERS_STORAGE_CONF=$1/storage.conf CONTAINERS_CONF=$1/containers.conf
}

# remove_storage DIRECTORY: with what an engine has mounted there, and may mount once more while it cleans up.
remove_storage() {
    for _ in $(seq 20); do
        grep " ${1:?}" /proc/self/mountinfo | awk '{ print $5 }' | sort -r | xargs -r umount -l
        rm -rf "$1" && return
        sleep 0.5
    done
    return 1
}

# write_hooks SDG HOOKS_DIR [OPTION…]: Podman's hook file, with SDG as program and its options before the verb.
write_hooks() {
    local sdg=$1 directory=$2
    shift 2
    mkdir -p "$directory"
    local options
    options=$([ $# -eq 0 ] || printf '%s\n' "$@" | jq -R .)
    jq --arg sdg "$sdg" --argjson options "[$(paste -sd, <<<"$options")]" \
        '.hook.path = $sdg | .hook.args = ["sdg"] + $options + .hook.args[1:]' \
        "$PROJECT/hooks.d/podman/sdg.json" >"$directory/sdg.json"
}
