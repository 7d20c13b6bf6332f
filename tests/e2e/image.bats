# preset: mi300x
# The agent's image: built by packaging/Containerfile from what was laid out, compared with it, and run. There is no image
# registry here: a Debian from the machine's mirror (SDG_BASE, a tar) has the name of the file's base.

setup_file() {
    . "$PROJECT/tests/e2e/image.bash"
    export STORAGE BASE
    STORAGE=$(mktemp -d /tmp/sdg-image.XXXXXX)
    own_images
    BASE=$(sed -n 's/^ARG BASE=//p' "$PROJECT/packaging/Containerfile")
    podman import --quiet "$SDG_BASE" "$BASE"
    cd "$PROJECT"
    bash -euxc "$(build_command)"
}

setup() {
    . "$PROJECT/tests/e2e/image.bash"
    own_images
    slices_setup
}

teardown() { slices_teardown; }

teardown_file() {
    . "$PROJECT/scripts/podman.bash"
    remove_storage "$STORAGE"
}

@test "beside its base, the image has files that were laid out, unchanged, and no other" {
    unpack "$BASE" "$WORK/base"
    unpack sdg-agent "$WORK/image"
    run diff <(listing "$WORK/base") <(listing "$WORK/image")
    echo "$output"
    ours=(./usr/bin/sdg ./usr/bin/sdg-agent ./usr/lib/sdg/libsdg.so ./usr/share/doc/sdg/third-party.txt.gz)
    # A RUN leaves an empty file where containers have their own.
    [ "$(grep '^[<>]' <<<"$output" | grep -v '^> ./etc/hosts ' | cut -d ' ' -f 1,2 | xargs)" = "$(printf '> %s ' "${ours[@]}" | xargs)" ]
    same_files "$WORK/image" "$SDG_DIST" "${ours[@]}"
}

@test "the DaemonSet's first container puts the programs on the host, on a read-only root without capabilities" {
    mkdir "$WORK/host"
    engine run --rm --network=none --read-only --cap-drop=all --security-opt=no-new-privileges --ulimit nofile=1024:1024 \
        --ulimit nproc=4096:4096 --entrypoint=/bin/sh --volume "$WORK/host:/opt/sdg" sdg-agent -euc "$(install_script)"
    same_files "$WORK/host" "$SDG_DIST/usr" bin/sdg bin/sdg-agent lib/sdg/libsdg.so
}

@test "the agent in it serves the node's figures, and reaps what a killed engine left" {
    container --detach --name="sdg-image-$ID" --annotation=sdg.memory=20Gi /opt/sdg/hip-hold 1G
    wait_for "the program to hold its memory" logged "sdg-image-$ID" '"holding"'
    address=127.0.0.1:$(free_port)
    echo "metrics = \"$address\"" >"$WORK/config.toml"
    echo "sdg-agent-$ID" >>"$WORK/names"
    engine run --detach --name="sdg-agent-$ID" --network=host --pid=host --read-only --ulimit nofile=1024:1024 \
        --ulimit nproc=4096:4096 --volume "$STATE:/run/sdg" --volume "$WORK/config.toml:/etc/sdg/config.toml:ro" \
        --volume "$SDG_SYSROOT:/node:ro" sdg-agent --sysroot /node run
    wait_for "the agent to serve" get "http://$address/metrics"
    get "http://$address/metrics" >"$WORK/scrape"
    grep -qx 'sdg_slice_memory_limit_bytes{.*} 21474836480' "$WORK/scrape"
    # Without their parent nobody calls the hooks that release a slice.
    pkill -9 -f "conmon .* -n sdg-image-$ID "
    kill -9 "$(slices | jq '.[0].pid')"
    wait_for "the slice to be reaped" reaped
}
