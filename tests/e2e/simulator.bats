# Real ROCm user space on simulated GPUs.

setup() {
    . "$PROJECT/tests/e2e/simulator.bash"
    LOG=$BATS_TEST_TMPDIR/device.log
}

MI300X_BYTES=206141652992

# events NAME [FILTER]: what the devices' log has of an event.
events() {
    jq -c --arg name "$1" "select(.event == \$name) | ${2:-.}" "$LOG"
}

@test "rocminfo lists an MI300X" {
    run sim_run -- rocminfo
    passed
    [[ $output == *"Name:                    gfx942"* ]]
    [[ $output == *"Compute Unit:            304"* ]]
    [[ $output == *"201310208(0xbffc000) KB"* ]]
}

@test "every preset's GPUs are listed and work" {
    # HIP counts compute units of RDNA in pairs.
    local options devices units name
    while read -r options devices units name; do
        # shellcheck disable=SC2086 # several options
        run sim_run ${options//,/ } -- sh -c '/programs/hip-copy && /programs/hip-mem && rocminfo'
        passed
        same "$options, HIP's devices" "$(field device devices)" "$devices"
        same "$options, units" "$(field device multiprocessors)" "$units"
        # Older tables of names do not know the newest products.
        [ "$ROCM" = 6.1 ] || same "$options, agents" "$(grep -c "Marketing Name: *$name *\$" <<<"$output")" "$devices"
    done <<-'END'
	--preset,mi300x-8 8 304 AMD Instinct MI300X
	--preset,mi300x,--set,compute_partition=DPX 2 152 AMD Instinct MI300X
	--preset,mi300x,--set,compute_partition=QPX 4 76 AMD Instinct MI300X
	--preset,mi325x 1 304 AMD Instinct MI325X
	--preset,mi308x-cpx 4 20 AMD Instinct MI308X
	--preset,mi250 2 104 AMD Instinct MI250X / MI250
	--preset,mi210-4 4 104 AMD Instinct MI210
	--preset,rx7900xtx 1 48 AMD Radeon RX 7900 XTX
	END
}

@test "rocminfo lists 64 partitions" {
    run sim_run --preset mi300x-8-cpx -- rocminfo
    passed
    same partitions "$(grep -c '^  Name: *gfx942 *$' <<<"$output")" 64
}

@test "memory runs out where the card ends, and comes back" {
    run sim_run -- /programs/hip-mem
    passed
    same multiprocessors "$(field device multiprocessors)" 304
    same total "$(field memory total)" $MI300X_BYTES
    same refused "$(field beyond-total refused)" true
    [ "$(field full allocated)" -gt $((MI300X_BYTES * 9 / 10)) ]
}

@test "bytes arrive by copies, streams, managed and virtual memory" {
    run sim_run -- /programs/hip-copy
    passed
    local way
    for way in host-device-host streams managed; do
        same "$way" "$(field "$way" bytes)" 5242892
    done
    # HIP 5.7, which trixie has beside ROCm 6.1, cannot do the fourth.
    if [ "$ROCM" = 6.1 ]; then
        same virtual-memory "$(field virtual-memory supported)" false
    else
        same virtual-memory "$(field virtual-memory bytes)" 5242892
    fi
    for way in device-device memset; do
        same "$way" "$(field "$way" same)" true
    done
    [ -n "$(field events milliseconds)" ]
}

@test "the device sees each queue and the mask that the program set" {
    run sim_run -- /programs/hip-queues 4
    passed
    same streams "$(field streams count)" 4
    same masks "$(events mask '[.mask, .units]')" '[[65535,0],16]'
    [ "$(events queue .kind | grep -c compute-aql)" -ge 5 ]
}

@test "a child reads and writes its parent's memory by hipIpc" {
    run sim_run -- /programs/hip-ipc
    passed
    same child "$(field child-read bytes)" 2097152
    same parent "$(field parent-read bytes)" 2097152
}

@test "two GPUs copy to one another" {
    run sim_run --preset mi300x-8 -- /programs/hip-peer
    passed
    same devices "$(field peers devices)" 8
    same bytes "$(field peer-copy same)" true
}

@test "32 processes at a time" {
    run sim_run -- sh -c 'for i in $(seq 32); do /programs/hip-copy & done; wait'
    passed
    same done "$(grep -c '"step":"done"' <<<"$output")" 32
}

@test "a static program's own system calls reach the device" {
    run sim_run -- /programs/raw-kfd 1073741824
    passed
    same bytes "$(field allocated bytes)" 1073741824
    [ -n "$(field queue id)" ]
}

@test "rocm-smi shows the GPUs and their memory" {
    run sim_run --preset mi300x-8 -- rocm-smi --showmeminfo vram
    passed
    same GPUs "$(grep -c "VRAM Total Memory (B): $MI300X_BYTES" <<<"$output")" 8
}

@test "amd-smi shows the GPUs and their memory" {
    if [ "$ROCM" = 6.1 ]; then
        [ ! -e "$SDG_ROOTFS/usr/bin/amd-smi" ] # Debian trixie has none.
        return
    fi
    run sim_run --preset mi300x-8 -- amd-smi static --vram
    passed
    same GPUs "$(grep -c 'SIZE: 196592 MB' <<<"$output")" 8
}

@test "tinygrad allocates and copies through its own driver" {
    run sim_run -- python3 /sources/tiny.py
    passed
    same arch "$(field device arch)" gfx942
    same bytes "$(field copied bytes)" 3145733
    [ "$(field full blocks)" -ge 20 ]
}

# Its commands are PM4 in an indirect buffer, to which a packet of AQL leads where a GPU has several XCCs, and the ring of a
# PM4 queue where it has one.
@test "tinygrad's kernels end, in each of its kinds of queues" {
    local preset kind
    while read -r preset kind; do
        run sim_run --preset "$preset" -- python3 /sources/tiny.py
        passed
        [ "$(field kernels count)" -ge 2 ]
        same "$preset, kernels" "$(events queue_end .work.dispatches | jq -s add)" "$(field kernels count)"
        same "$preset, queues" "$(events queue .kind | sort | paste -sd' ')" "\"$kind\" \"sdma\""
    done <<-'END'
	mi300x compute-aql
	mi308x-cpx compute-pm4
	rx7900xtx compute-pm4
	END
}

# begin_wait: raw-wait in the background, as RUN; its process is PID. It waits for the GPU, which waits for the word at
# ADDRESS of its memory.
begin_wait() {
    OUT=$BATS_TEST_TMPDIR/out
    sim_run -- /programs/raw-wait >"$OUT" &
    RUN=$!
    for _ in $(seq 300); do
        grep -q waiting "$OUT" && break
        sleep 0.1
    done
    PID=$(pgrep -x raw-wait)
    output=$(cat "$OUT")
    ADDRESS=$(field waiting address)
}

# end_wait: the GPU goes on. The wait is over, with the event, which is taken once.
end_wait() {
    ! grep woken "$OUT" || return 1
    release_gpu "$PID" "$ADDRESS"
    ended_with 0 "$RUN"
    output=$(cat "$OUT")
    same woken "$(field woken errno) $(field woken result) $(field woken value)" "0 0 0"
    same again "$(field again result)" 1
}

@test "a debugger attaches to a process that waits for the GPU, and the wait goes on" {
    begin_wait
    run gdb -batch -p "$PID" -ex 'print/x $rip'
    passed
    [[ $output == *'$1 = 0x'* ]]
    [[ $output == *"detached"* ]]
    end_wait
}

@test "a wait for the GPU is traced" {
    begin_wait
    strace -o "$BATS_TEST_TMPDIR/trace" -p "$PID" 2>"$BATS_TEST_TMPDIR/attached" &
    local trace=$!
    for _ in $(seq 300); do
        grep -q attached "$BATS_TEST_TMPDIR/attached" && break
        sleep 0.1
    done
    end_wait
    ended_with 0 "$trace"
    [ "$(grep -c 'WAIT_EVENTS.* = 0$' "$BATS_TEST_TMPDIR/trace")" -eq 2 ]
}

@test "a signal's handler runs while its process waits for the GPU" {
    begin_wait
    kill -USR1 "$PID"
    for _ in $(seq 300); do
        grep -q handled "$OUT" && break
        sleep 0.1
    done
    end_wait
    same handled "$(field woken handled)" 1
}

# wakes PID: how often the threads of a process have gone to sleep, and the clock ticks that they have run.
wakes() {
    local sleeps
    sleeps=$(cat "/proc/$1"/task/*/status | awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n }')
    sed 's/.*) //' "/proc/$1/stat" | awk -v sleeps="$sleeps" '{ print sleeps, $12 + $13 }'
}

# A doorbell is a store to memory, for which nothing can wait: an idle queue is looked at ten times a second.
@test "the supervisor sleeps while a program holds memory and a queue and does nothing" {
    sim_run -- /programs/hip-hold 1G >"$BATS_TEST_TMPDIR/out" &
    local run=$! supervisor before after
    for _ in $(seq 300); do
        grep -q holding "$BATS_TEST_TMPDIR/out" && break
        sleep 0.1
    done
    supervisor=$(pgrep -f -- "^$SDG_SIM run --log $LOG ")
    [ "$(events queue .kind | grep -c compute-aql)" -ge 1 ]
    sleep 5
    read -ra before < <(wakes "$supervisor")
    sleep 5
    read -ra after < <(wakes "$supervisor")
    kill "$supervisor"
    # The signal is passed on, and the program heeds it.
    ended_with 0 "$run"
    echo "wakes ${before[0]} -> ${after[0]}, ticks ${before[1]} -> ${after[1]}"
    [ $((after[0] - before[0])) -le 150 ]
    [ $((after[1] - before[1])) -le 10 ]
}
