# preset: mi300x-8
# What runs on the simulator itself (simulator.bats) runs in Podman's containers too: with GPUs given by --device, where
# nothing of ours is in between, and in slices, where the shim is.

setup() { . "$PROJECT/tests/e2e/slices.bash" && . "$PROJECT/tests/e2e/simulator.bash" && slices_setup; }
teardown() { slices_teardown; }

GIB=$((1024 * 1024 * 1024))
MI300X_BYTES=206141652992
SLICE=(--annotation=sdg.memory=20Gi --annotation=sdg.compute=250m)

# devices COUNT: the options that give a container so many GPUs, the first ones.
devices() {
    echo --device=/dev/kfd
    find /dev/dri -name 'renderD*' | sort -V | head -n "$1" | sed 's/^/--device=/'
}

# with_tinygrad OPTION… COMMAND…: a container that also has tinygrad and the programs' sources.
with_tinygrad() {
    container "--volume=$TINYGRAD:/tinygrad:ro" "--volume=$E2E/programs:/sources:ro" "$@"
}

# value STEP KEY: as `field`, where two programs have a step of the name and one of them the key.
value() { field "$1" "$2" | grep -vx null; }

# The programs of one GPU: the memory that they must see, in bytes, and its compute units.
programs_pass() {
    passed
    same multiprocessors "$(field device multiprocessors | sort -u)" "$2"
    same total "$(field memory total)" "$1"
    same refused "$(field beyond-total refused)" true
    [ "$(field full allocated)" -le "$1" ]
    [ "$(field full allocated)" -gt $(($1 * 9 / 10)) ]
    local way
    for way in host-device-host streams managed; do
        same "$way" "$(value "$way" bytes)" 5242892
    done
    # HIP 5.7, which trixie has beside ROCm 6.1, has no virtual memory.
    [ "$ROCM" = 6.1 ] || same virtual-memory "$(field virtual-memory bytes)" 5242892
    same streams "$(value streams count)" 4
    same child "$(field child-read bytes)" 2097152
    same parent "$(field parent-read bytes)" 2097152
    same agents "$(grep -c '^  Name: *gfx942 *$' <<<"$output")" 1
    same pools "$(grep -c "Size: *$(($1 / 1024))(0x[0-9a-f]*) KB" <<<"$output")" 3
}

PROGRAMS='set -e; cd /opt/sdg; ./hip-mem; ./hip-copy; ./hip-queues 4; ./hip-ipc; rocminfo'

@test "a container with one GPU and no shim: rocminfo and HIP see the whole card" {
    mapfile -t one < <(devices 1)
    run container "${one[@]}" /bin/sh -c "$PROGRAMS"
    programs_pass $MI300X_BYTES 304
    # The only mask is the program's own.
    same masks "$(device_log | jq -c 'select(.event == "mask") | [.mask, .units]')" '[[65535,0],16]'
}

@test "a slice: rocminfo and HIP see its size, and the device sees its limit and its mask" {
    run container "${SLICE[@]}" /bin/sh -c "$PROGRAMS"
    programs_pass $((20 * GIB)) 72
    device_log | jq -se --argjson most $((20 * GIB)) '
        [foreach (.[] | select(.event == "alloc" and .vram and .result == "ok" or .event == "free" and .vram)) as $e
            (0; . + (if $e.event == "alloc" then $e.size else -$e.size end))] | max <= $most'
    device_log | jq -se '
        ([.[] | select(.event == "queue" and (.kind | test("sdma") | not)) | [.pid, .queue]] | unique) as $queues
        | [.[] | select(.event == "mask")] as $masks
        | ($queues | length > 4) and ($queues - [$masks[] | [.pid, .queue]] == [])
        and all($masks[]; .units <= 72 and .uncovered_xccs == [])
        and any($masks[]; .units == 72) and any($masks[]; .units < 72)'
}

@test "topology nodes of other GPUs are listed, can be opened, and are not to be read" {
    mapfile -t one < <(devices 1)
    local script='cd /sys/class/kfd/kfd/topology/nodes; for node in *; do
        for file in gpu_id name properties mem_banks/0/properties; do
            [ ! -e $node/$file ] || if cat $node/$file >/dev/null 2>/tmp/why; then echo read; else cat /tmp/why; fi
        done; exec 3<$node/gpu_id; echo opened; done'
    for options in "${one[*]}" "${SLICE[*]}"; do
        # shellcheck disable=SC2086 # several options
        run container $options /bin/sh -c "$script"
        passed
        # Two processors and eight GPUs; a processor's node has all four files as well.
        same opened "$(grep -c '^opened$' <<<"$output")" 10
        same read "$(grep -c '^read$' <<<"$output")" 12
        same unreadable "$(grep -c 'Operation not permitted' <<<"$output")" 28
    done
}

@test "two GPUs in a container copy to one another, with the shim and without" {
    mapfile -t two < <(devices 2)
    run container "${two[@]}" /opt/sdg/hip-peer
    passed
    same devices "$(field peers devices)" 2
    same bytes "$(field peer-copy same)" true
    run container "${SLICE[@]}" --annotation=sdg.count=2 /opt/sdg/hip-peer
    passed
    same devices "$(field peers devices)" 2
    same bytes "$(field peer-copy same)" true
}

# smi_shows MEBIBYTES OPTION…: both tools list one GPU with so much memory.
smi_shows() {
    local mebibytes=$1
    shift
    run container "$@" rocm-smi --showmeminfo vram
    passed
    same rocm-smi "$(grep 'VRAM Total Memory' <<<"$output")" \
        "$(printf 'GPU[0]\t\t: VRAM Total Memory (B): %d' $((mebibytes * 1024 * 1024)))"
    if [ "$ROCM" = 6.1 ]; then
        [ ! -e "$SDG_ROOTFS/usr/bin/amd-smi" ] # Debian trixie has none.
        return
    fi
    run container "$@" amd-smi static --vram
    passed
    same amd-smi "$(grep 'SIZE:' <<<"$output" | xargs)" "SIZE: $mebibytes MB"
}

@test "rocm-smi and amd-smi list the container's GPU with its memory, with the shim and without" {
    mapfile -t one < <(devices 1)
    smi_shows $((MI300X_BYTES / 1024 / 1024)) "${one[@]}"
    smi_shows $((20 * 1024)) "${SLICE[@]}"
}

@test "tinygrad copies and runs kernels through its own driver, with the shim and without" {
    mapfile -t one < <(devices 1)
    run with_tinygrad "${one[@]}" python3 /sources/tiny.py
    passed
    same arch "$(field device arch)" gfx942
    same bytes "$(field copied bytes)" 3145733
    same blocks "$(field full blocks)" 23
    run with_tinygrad "${SLICE[@]}" python3 /sources/tiny.py
    passed
    same bytes "$(field copied bytes)" 3145733
    same blocks "$(field full blocks)" 2
    [ "$(field kernels count)" -ge 2 ]
    same dispatches "$(device_log | jq -s 'map(select(.event == "queue_end") | .work.dispatches) | add')" \
        "$((2 * $(field kernels count)))"
    device_log | jq -se 'any(.[]; .event == "mask" and .units == 72)'
}

@test "a static program's own system calls reach the device" {
    mapfile -t one < <(devices 1)
    run container "${one[@]}" /opt/sdg/raw-kfd 1073741824
    passed
    same bytes "$(field allocated bytes)" 1073741824
    same seen "$(device_log | jq -s '[.[] | select(.event == "alloc" and .size == 1073741824)] | length')" 1
}

# frozen PID: by the kernel's own account, in whichever cgroup version the freezer is.
frozen() {
    local path
    path=$(sed -n 's/^[0-9]*:freezer://p' "/proc/$1/cgroup")
    if [ -n "$path" ]; then
        [ "$(cat "/sys/fs/cgroup/freezer$path/freezer.state")" = FROZEN ]
    else
        grep -qx 'frozen 1' "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")/cgroup.events"
    fi
}

@test "a container that waits for the GPU is paused; what the GPU does meanwhile is not lost" {
    mapfile -t one < <(devices 1)
    local name=sdg-paused-$ID out=$WORK/out run pid
    container "${one[@]}" "--name=$name" /opt/sdg/raw-wait >"$out" &
    run=$!
    wait_for "the wait" grep -q waiting "$out"
    pid=$(engine inspect --format '{{.State.Pid}}' "$name")
    engine pause "$name"
    frozen "$pid"
    output=$(cat "$out")
    release_gpu "$pid" "$(field waiting address)"
    engine unpause "$name"
    ended_with 0 "$run"
    output=$(cat "$out")
    same woken "$(field woken errno) $(field woken result) $(field woken value)" "0 0 0"
    same again "$(field again result)" 1
}
