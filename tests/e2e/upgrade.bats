# preset: mi300x
# An update while slices run: `make install` over an installation whose containers run. What other versions wrote, file by
# file: tests/upgrades.rs.

setup() {
    . "$PROJECT/tests/e2e/shares.bash" && . "$PROJECT/tests/e2e/slices.bash" && slices_setup
    INSTALLED=$WORK/installed
    install_old
    SDG=$INSTALLED/usr/bin/sdg
    # A slice whose container did not start is over at once.
    echo 'claim_grace = 0' >"$WORK/config.toml"
    OPTIONS+=(--config "$WORK/config.toml")
    write_hooks "$SDG" "$HOOKS" "${OPTIONS[@]}"
}
teardown() { slices_teardown; }

GIB=$((1024 * 1024 * 1024))
SLICE=(--annotation=sdg.memory=10Gi --annotation=sdg.compute=250m)

# Another build, which does the same: its files have some bytes more.
install_old() {
    update
    for file in usr/bin/sdg usr/lib/sdg/libsdg.so; do
        cp "$INSTALLED/$file" "$WORK/next" && echo "an older build" >>"$WORK/next" && mv "$WORK/next" "$INSTALLED/$file"
    done
}

update() { make --silent -C "$PROJECT" install DIST="$SDG_DIST" DESTDIR="$INSTALLED"; }

checksum() { sha256sum "$@" | cut -d ' ' -f 1; }

@test "a container that runs across an update keeps its limit and its shim, can be resized and is released; a new one has other units" {
    old=$(checksum "$INSTALLED/usr/lib/sdg/libsdg.so")
    container --name=sdg-old-$ID "${SLICE[@]}" /opt/sdg/hip-hold 6G >"$WORK/old" &
    local old_one=$!
    wait_for "the old container" holds "$WORK/old"
    id=$(slices | jq -r '.[0].id')
    before=$(slices | jq -c '.[0].gpus')
    update
    [ "$(checksum "$INSTALLED/usr/lib/sdg/libsdg.so")" != "$old" ]
    [ "$(slices | jq -c '.[0].gpus')" = "$before" ]
    [ "$(engine exec sdg-old-$ID sha256sum /run/sdg/libsdg.so | cut -d ' ' -f 1)" = "$old" ]
    run engine exec sdg-old-$ID /opt/sdg/hip-hold 6G
    echo "$output"
    [ "$(step refused error)" = hipErrorOutOfMemory ]

    sdg slice resize "$id" --memory 20Gi --compute 125m
    engine exec --detach sdg-old-$ID /bin/sh -c '/opt/sdg/hip-hold 6G >/tmp/out'
    wait_for "the second process" engine exec sdg-old-$ID grep -q holding /tmp/out
    # Its queues have the new mask, which a shim of the old build has set.
    [ "$(slices | jq '.[0].gpus[0].compute_units')" -eq 40 ]
    device_log | jq -se 'map(select(.event == "mask")) | group_by([.pid, .queue]) | map(last) | length > 0 and all(.[]; .units <= 40)'

    container --name=sdg-new-$ID "${SLICE[@]}" /opt/sdg/hip-hold 6G >"$WORK/new" &
    local new_one=$!
    wait_for "the new container" holds "$WORK/new"
    [ "$(engine exec sdg-new-$ID sha256sum /run/sdg/libsdg.so | cut -d ' ' -f 1)" = "$(checksum "$SDG_DIST/usr/lib/sdg/libsdg.so")" ]
    [ "$(slices | jq length)" -eq 2 ]
    nothing_is_given_twice

    engine kill --signal TERM sdg-old-$ID sdg-new-$ID
    ended_with 0 "$old_one" "$new_one"
    wait_for "both slices to be released" no_slice_is_left
    sdg slice history "$id" --json | jq -e --argjson gib $GIB '.[0].gpus[0].memory_bytes == 20 * $gib and .[0].peak_memory_bytes > 6e9'
}

@test "programs that start while files are exchanged are held, in a container that runs and in new ones" {
    mkdir "$WORK/shared"
    container --name=sdg-old-$ID "--volume=$WORK/shared:/run/shared" "${SLICE[@]}" /bin/sh -c '
        until [ -e /run/shared/enough ]; do /opt/sdg/libc-kfd 8589934592 4294967296; done' >"$WORK/old" 2>&1 &
    local container=$!
    wait_for "the old container" grep -q beyond "$WORK/old"
    for number in $(seq 6); do
        update && install_old
    done >"$WORK/updates" 2>&1 &
    updates=$!
    for number in $(seq 4); do
        container "${SLICE[@]}" /opt/sdg/libc-kfd 8589934592 4294967296 >>"$WORK/new" 2>&1 || echo "refused" >>"$WORK/new"
    done
    wait "$updates" || { cat "$WORK/updates"; return 1; }
    # Not by `podman exec`, which fails where the container has ended before it has noted its own end.
    touch "$WORK/shared/enough"
    ended_with 0 "$container"
    # Each had what it may, and no more.
    for file in old new; do
        jq -rR 'fromjson? | "\(.step) \(.errno)"' "$WORK/$file" | sort | uniq -c
        [ "$(grep -c '"step":"beyond"' "$WORK/$file")" -eq "$(grep -c '"step":"allocated"' "$WORK/$file")" ]
        [ "$(grep -c '"step":"beyond","errno":12}' "$WORK/$file")" -eq "$(grep -c '"step":"beyond"' "$WORK/$file")" ]
    done
    # A new one that met a file which was gone a moment later did not start, and said so.
    grep -v '^{' "$WORK/new" || true
    # Where its runtime calls no poststop hook then, the next placement reaps.
    [ $(($(grep -c '"step":"done"' "$WORK/new") + $(grep -c '^refused$' "$WORK/new"))) -eq 4 ]
    sdg slice reap
    no_slice_is_left
}

@test "a limits page of a version that its shim does not know is refused by name on both sides, and the slice is released" {
    mkdir "$WORK/shared"
    container "--volume=$WORK/shared:/run/shared" "${SLICE[@]}" /bin/sh -c '
        echo ready; until [ -e /run/shared/go ]; do sleep 0.1; done
        /opt/sdg/hip-mem; echo "ended $?"' >"$WORK/out" 2>&1 &
    local container=$!
    wait_for "the container" grep -q ready "$WORK/out"
    page=$STATE/slices/$(slices | jq -r '.[0].id')/limits
    printf '\002' | dd of="$page" bs=1 seek=8 conv=notrunc status=none
    run sdg slice list
    echo "$output"
    [ "$status" -ne 0 ]
    [ "$output" = "sdg: $page: layout version 2, this program knows 1" ]
    touch "$WORK/shared/go"
    ended_with 0 "$container"
    cat "$WORK/out"
    grep -q '"step":"full","blocks":0,"allocated":0,' "$WORK/out"
    [ "$(grep -c 'sdg: GPU memory and queues are refused: /run/sdg/limits has layout version 2, this libsdg.so knows 1' "$WORK/out")" -eq 1 ]
    device_log | jq -se 'all(.[]; .event != "alloc" or .vram == false) and all(.[]; .event != "queue")'
    no_slice_is_left
}
