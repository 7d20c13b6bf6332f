# The kernel's own limit of device memory, on a kernel that has it (scripts/dmem-vm.sh) with a region that has the name
# of a simulated GPU's. There is no GPU behind it: memory is charged by /proc/dmem_region (tests/kernel/dmem_region.c).

GIB=$((1024 * 1024 * 1024))
ROOT=/sys/fs/cgroup
CGROUP=$ROOT/sdg-test/one

setup() {
    WORK=$(mktemp -d /tmp/sdg-dmem.XXXXXX)
    "$SDG_DIST/usr/bin/sdg-sim" node --preset mi300x "$WORK/node"
    SDG=("$SDG_DIST/usr/bin/sdg" --sysroot "$WORK/node" --state "$WORK/state")
    REGION=drm/$("${SDG[@]}" gpu list --json | jq -r '.[0].pci')/vram
    CAPACITY=206141652992
    insmod "${SDG_CACHE:-/var/cache/sdg}/dmem-kernel/dmem_region.ko" "name=$REGION" "size=$CAPACITY"
    mkdir -p "$WORK/bundle/rootfs"/{bin,etc,proc,sys,dev,tmp}
    cp /bin/busybox "$WORK/bundle/rootfs/bin/"
    (cd "$WORK/bundle" && "$SDG_RUNTIME" spec)
    change '.root.path = "'"$WORK"'/bundle/rootfs" | .process.args = ["/bin/busybox", "sleep", "1000"] | .process.terminal = false | del(.process.rlimits)
        | .process.capabilities = {} | .linux.cgroupsPath = "/sdg-test/one"
        | .annotations = {"sdg.memory": "10Gi", "sdg.memoryLimit": "20Gi", "sdg.compute": "100m"}
        | .mounts |= map(select(.destination != "/sys/fs/cgroup" and .destination != "/dev/mqueue"))'
}

teardown() {
    "$SDG_RUNTIME" delete --force one 2>/dev/null || true
    echo 0 >/proc/dmem_region
    rmmod dmem_region
    rm -rf "$WORK"
}

change() { jq "$1" "$WORK/bundle/config.json" >"$WORK/config" && mv "$WORK/config" "$WORK/bundle/config.json"; }

# Gives the bundle's container its slice, as Podman's hook does.
place() {
    "${SDG[@]}" hook precreate <"$WORK/bundle/config.json" >"$WORK/config" || return
    mv "$WORK/config" "$WORK/bundle/config.json"
}

start() { "$SDG_RUNTIME" run --detach --bundle "$WORK/bundle" one </dev/null >"$WORK/out" 2>&1 3>&-; }

# charge BYTES: by a process of the container.
charge() { "$SDG_RUNTIME" exec one /bin/busybox sh -c "echo $1 >/proc/dmem_region"; }

slice() { "${SDG[@]}" slice list --json | jq -r ".[0].$1"; }

says() { [ "$(cat "$1")" = "$REGION $2" ] || { echo "$1: $(cat "$1"), expected $2"; return 1; }; }

in_force() {
    says "$CGROUP/dmem.min" $((10 * GIB))
    says "$CGROUP/dmem.max" $((20 * GIB))
    # A guarantee below a group without one would be none.
    says "$ROOT/sdg-test/dmem.min" $CAPACITY
}

@test "guarantee and limit are the cgroup's, the record says so, and the kernel holds a static program to them" {
    place
    jq -e --arg line "$REGION $((20 * GIB))" '.linux.resources.unified["dmem.max"] == $line' "$WORK/bundle/config.json"
    [ "$(slice 'enforcement | join(" ")')" = "devices dmem" ]
    start || { cat "$WORK/out"; false; }
    in_force
    charge $((15 * GIB))
    says "$CGROUP/dmem.current" $((15 * GIB))
    charge 0
    run charge $((21 * GIB))
    [ "$status" -ne 0 ]
    [[ $output == *"temporarily unavailable"* ]]
    says "$CGROUP/dmem.current" 0
}

@test "where the runtime was told nothing, the hook writes the limits" {
    place
    change 'del(.linux.resources.unified)'
    start || { cat "$WORK/out"; false; }
    in_force
}

@test "a container whose limit is not in force does not start" {
    place
    change 'del(.linux.resources.unified)'
    rmmod dmem_region
    run start
    cat "$WORK/out"
    insmod "${SDG_CACHE:-/var/cache/sdg}/dmem-kernel/dmem_region.ko" "name=$REGION" "size=$CAPACITY"
    [ "$status" -ne 0 ]
    # crun keeps what a hook says to itself.
    [ "$SDG_RUNTIME" = crun ] || grep -q 'does not limit the container.s memory' "$WORK/out"
    [ "$("${SDG[@]}" slice list --json | jq length)" -eq 0 ]
}

@test "a resize below what is in use: the shim's limit sinks at once, the kernel's as soon as it can" {
    place
    start || { cat "$WORK/out"; false; }
    charge $((15 * GIB))
    "${SDG[@]}" slice resize "$(slice id)" --memory 10Gi --memory-limit 12Gi
    [ "$(slice 'gpus[0].memory_limit_bytes')" -eq $((12 * GIB)) ]
    says "$CGROUP/dmem.max" $((20 * GIB))
    "${SDG[@]}" slice reap
    says "$CGROUP/dmem.max" $((20 * GIB))
    charge 0
    "${SDG[@]}" slice reap
    says "$CGROUP/dmem.max" $((12 * GIB))
    "${SDG[@]}" slice resize "$(slice id)" --memory 30Gi
    says "$CGROUP/dmem.max" $((30 * GIB))
    says "$CGROUP/dmem.min" $((30 * GIB))
}

@test "a GPU without a region has no such limit, and the record says so" {
    rmmod dmem_region
    insmod "${SDG_CACHE:-/var/cache/sdg}/dmem-kernel/dmem_region.ko" name=drm/ffff:00:00.0/vram "size=$CAPACITY"
    run place
    # Nothing holds the static program then.
    [ "$status" -ne 0 ]
    [[ $output == *"is a static program"* ]]
}
