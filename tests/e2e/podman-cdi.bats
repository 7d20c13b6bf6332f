# preset: mi300x
# Named slices and whole GPUs on Podman, by the names of our CDI files in /etc/cdi.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && . "$PROJECT/tests/e2e/simulator.bash" && slices_setup
    echo 'cdi_dir = "/etc/cdi"' >"$WORK/config.toml"
    OPTIONS+=(--config "$WORK/config.toml")
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}"
    forget
}
teardown() { slices_teardown; forget; }

# Of an earlier run that was killed, too: Podman reads the directory at every call.
forget() { rm -f /etc/cdi/sdg-*.json; }

GIB=$((1024 * 1024 * 1024))

@test "a named slice is a 10 GiB GPU, with one limit over two containers, and stays" {
    sdg slice create --name=llama --memory=10Gi --compute=100m
    run container --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((10 * GIB)) ]
    [ "$(step beyond-total refused)" = true ]
    container --name=sdg-joined --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-hold 6G >"$WORK/one" &
    local container=$!
    wait_for "the first container" holds "$WORK/one"
    run container --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-hold 6G
    echo "$output"
    [ "$(step refused error)" = hipErrorOutOfMemory ]
    run sdg slice delete llama
    [[ $output == *"is used by container"* ]]
    podman kill --signal TERM sdg-joined
    ended_with 0 "$container"
    [ "$(slices | jq length)" -eq 1 ]
    sdg slice delete llama
    [ ! -e /etc/cdi/sdg-slice-llama.json ]
}

@test "a container that the shim does not get into does not start with a named slice either" {
    sdg slice create --name=llama --memory=10Gi
    run container --device=sdg.exostellar.io/slice=llama /opt/sdg/raw-kfd 1073741824
    echo "$output"
    [ "$status" -ne 0 ]
    # crun keeps what a hook says to itself.
    [ "$SDG_RUNTIME" = crun ] || [[ $output == *"/opt/sdg/raw-kfd is a static program"* ]]
    sdg slice delete llama
    no_slice_is_left
}

@test "a shim that was spoiled after a named slice was made stops the containers that join it" {
    cp "$SDG_DIST/usr/lib/sdg/libsdg.so" "$WORK/libsdg.so"
    echo "shim = \"$WORK/libsdg.so\"" >>"$WORK/config.toml"
    sdg slice create --name=llama --memory=10Gi
    chmod 600 "$WORK/libsdg.so"
    run container --user=1000:1000 --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    # crun keeps what a hook says to itself.
    [ "$SDG_RUNTIME" = crun ] || [[ $output == *"not every user may read it (mode 0600)"* ]]
    chmod 644 "$WORK/libsdg.so"
    run container --user=1000:1000 --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -eq 0 ]
    sdg slice delete llama
}

@test "a whole GPU is claimed while its container runs" {
    sdg cdi generate
    container --name=sdg-whole --device=sdg.exostellar.io/gpu=0 /opt/sdg/hip-hold 100G >"$WORK/one" &
    local container=$!
    wait_for "the whole GPU's container" holds "$WORK/one"
    run container --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    [ "$status" -ne 0 ]
    podman kill --signal TERM sdg-whole
    ended_with 0 "$container"
    wait_for "the GPU to be free" no_slice_is_left
    run container --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    [ "$status" -eq 0 ]
}

@test "names and annotations that disagree are refused, and so are two slices" {
    sdg slice create --name=one --memory=10Gi
    sdg slice create --name=two --memory=10Gi
    run container --device=sdg.exostellar.io/slice=one --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    echo "$output"
    [[ $output == *"the annotations ask for something else"* ]]
    run container --device=sdg.exostellar.io/slice=one --device=sdg.exostellar.io/slice=two /opt/sdg/hip-mem
    echo "$output"
    [ "$status" -ne 0 ]
    # crun keeps what a hook says to itself.
    [ "$SDG_RUNTIME" = crun ] || [[ $output == *"two slices"* ]]
    sdg slice delete one two
}

# in_user_namespace MAPPING OPTION…: a container whose image any user may use, below $WORK.
in_user_namespace() {
    local map=$1
    shift
    if [ ! -d "$WORK/anybodys" ]; then
        . "$PROJECT/tests/e2e/engine.bash"
        image_tree "$WORK/anybodys"
        mkdir -p "$WORK/anybodys/run/sdg"
        chmod -R a+rwX "$WORK"
    fi
    podman_run "$SDG_RUNTIME" "$HOOKS" --rm "--uidmap=$map" "--gidmap=$map" "$@" --volume "$SDG_ROOTFS/usr:/usr:ro" \
        --volume "$PROJECT/target/e2e/bin:/opt/sdg:ro" --rootfs "$WORK/anybodys" /opt/sdg/hip-mem
}

@test "a refusal in a user namespace says why, whatever the runtime, and leaves nothing behind" {
    local reason="sdg: a container with a user namespace of its own cannot have a slice here: "
    run in_user_namespace 0:100000:5000 --annotation=sdg.memory=4Gi --annotation=sdg.compute=100m
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$(grep -cF "$reason" <<<"$output")" -eq 1 ]
    no_slice_is_left
    # Podman's precreate hook is not asked where a slice has a name: the runtime's own hook says so.
    sdg slice create --name=users --memory=4Gi --compute=100m
    run in_user_namespace 0:100000:5000 "--device=sdg.exostellar.io/slice=users"
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$(grep -cF "$reason" <<<"$output")" -eq 1 ]
    # Its root is the host's: runc's hooks can look, and those of a crun that tells them another bundle cannot.
    run in_user_namespace 0:0:5000 "--device=sdg.exostellar.io/slice=users"
    echo "$output"
    if [ "$SDG_RUNTIME" = crun ] && [ "$status" -ne 0 ]; then
        [ "$(grep -cF "$reason" <<<"$output")" -eq 1 ]
    else
        [ "$status" -eq 0 ]
        [ "$(step memory total)" -eq $((4 * GIB)) ]
    fi
    sdg slice delete users
}

# An image with no more than where ROCm's /usr and the programs are mounted; of an earlier run that was killed, too.
IMAGE=localhost/sdg-test-build
forget_images() { engine rmi --force --ignore $IMAGE:base $IMAGE:built >/dev/null 2>&1 || true; }

base_image() {
    . "$PROJECT/tests/e2e/engine.bash"
    forget_images
    image_tree "$WORK/image"
    tar -C "$WORK/image" -c . | engine import - $IMAGE:base >/dev/null
}

WITH_ROCM=("--volume=$SDG_ROOTFS/usr:/usr:ro" "--volume=$PROJECT/target/e2e/bin:/opt/sdg:ro")

@test "podman build: annotations are the image's, and RUN has no GPU, as docs/engines.md says" {
    base_image
    printf 'FROM %s:base\nRUN ls /dev/kfd /dev/dri || /opt/sdg/hip-mem\n' $IMAGE >"$WORK/Containerfile"
    run podman_global "$SDG_RUNTIME" --hooks-dir "$HOOKS" build --isolation=oci --layers=false --network=none \
        --ulimit=nofile=1024:1024 --ulimit=nproc=4096:4096 "${WITH_ROCM[@]}" --annotation=sdg.memory=4Gi \
        --tag $IMAGE:built --file "$WORK/Containerfile" "$WORK"
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$(grep -c "No such file or directory" <<<"$output")" -ge 2 ]
    [[ $output == *hipErrorNoDevice* ]]
    no_slice_is_left
    forget_images
}

@test "podman run and podman commit make an image by a GPU, and nothing of the slice is in it" {
    base_image
    echo "sdg-commit-$ID" >>"$WORK/names"
    run podman_run "$SDG_RUNTIME" "$HOOKS" "--name=sdg-commit-$ID" "${WITH_ROCM[@]}" --annotation=sdg.memory=4Gi \
        --annotation=sdg.compute=100m $IMAGE:base /bin/sh -c '/opt/sdg/hip-mem | tee /result'
    echo "$output"
    [ "$status" -eq 0 ]
    # A container that stays is cleaned up after Podman has returned.
    wait_for "the slice to be released" no_slice_is_left
    engine commit "sdg-commit-$ID" $IMAGE:built
    run podman_run "$SDG_RUNTIME" "$HOOKS" --rm "${WITH_ROCM[@]}" $IMAGE:built /bin/sh -c '
        cat /result; test ! -e /dev/kfd && test ! -s /etc/ld.so.preload && test ! -s /run/sdg/libsdg.so && echo nothing else'
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(step memory total)" -eq $((4 * GIB)) ]
    [[ $output == *"nothing else"* ]]
    forget_images
}

# mounted: what is mounted on the simulated node, but for Podman's own storage.
mounted() { awk '{ print $5 }' /proc/self/mountinfo | grep -v ^/var/lib/containers | sort; }

@test "a container with a user namespace of its own leaves nothing mounted on the node" {
    # Where crun needs one version of cgroups hidden, here and now: in a namespace of Podman's own nothing could be left.
    [ "$SDG_RUNTIME" = runc ] || ! cgroups_are_hybrid || umount /sys/fs/cgroup/unified
    local before
    before=$(mounted)
    sdg slice create --name=users --memory=4Gi --compute=100m
    # crun's hooks may refuse it, when all is mounted.
    run in_user_namespace 0:0:5000 "--device=sdg.exostellar.io/slice=users"
    same mounts "$(mounted)" "$before"
    run in_user_namespace 0:100000:5000 --device=/dev/kfd --device=/dev/dri/renderD128
    passed
    same mounts "$(mounted)" "$before"
    sdg slice delete users
}
