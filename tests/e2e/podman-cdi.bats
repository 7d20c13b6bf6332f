# preset: mi300x
# Named slices and whole GPUs on Podman, by the names of our CDI files in /etc/cdi.

setup() {
    . "$PROJECT/tests/e2e/slices.bash" && slices_setup
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
    wait_for "the first container" holds "$WORK/one"
    run container --device=sdg.exostellar.io/slice=llama /opt/sdg/hip-hold 6G
    echo "$output"
    [ "$(step refused error)" = hipErrorOutOfMemory ]
    run sdg slice delete llama
    [[ $output == *"is used by container"* ]]
    podman kill --signal TERM sdg-joined
    wait
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
    wait_for "the whole GPU's container" holds "$WORK/one"
    run container --annotation=sdg.memory=20Gi /opt/sdg/hip-mem
    [ "$status" -ne 0 ]
    podman kill --signal TERM sdg-whole
    wait
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
