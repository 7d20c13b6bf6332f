# Busy, power and temperature of a board by AMD's own library (Debian's libamd_smi in a root file system), as sdg-agent serves
# them. Its sysfs is another node's, which says other figures: what is served can only be from where it is looked for.

setup() {
    WORK=$(mktemp -d /tmp/sdg-test.XXXXXX)
    SIM=$SDG_DIST/usr/bin/sdg-sim
    for node in seen node; do
        "$SIM" node --preset mi300x "$WORK/$node"
    done
    echo 77000 >"$(echo "$WORK"/node/sys/class/drm/card0/device/hwmon/hwmon*/temp1_input)"
}

teardown() { rm -rf "$WORK"; }

# gpu_metrics BUSY WATTS: amdgpu's table for AMD's tools on the node that the library sees.
# Source: Linux, drivers/gpu/drm/amd/include/kgd_pp_interface.h, struct gpu_metrics_v1_3.
gpu_metrics() {
    python3 -c 'import struct, sys; busy, watts = map(int, sys.argv[1:]); sys.stdout.buffer.write(
        struct.pack("<HBB6H4H", 120, 1, 3, 35, 38, 36, 0, 0, 0, busy, 0, 0, watts).ljust(120, b"\0"))' "$1" "$2" \
        >"$WORK/seen/sys/class/drm/card0/device/gpu_metrics"
}

# seen COMMAND…: in the root file system, on the node that the library sees.
seen() {
    BINDS="$SDG_DIST/usr/bin /programs
$WORK /work" "$SIM" run --node "$WORK/seen" -- "$PROJECT/tests/e2e/in-rootfs.sh" "$SDG_ROOTFS" "$@"
}

# board: what an agent with the configuration's lines in $CONFIG serves, in the root file system: [busy, power, temperature].
board() {
    printf 'metrics = "127.0.0.1:0"\nwatchdog = "off"\n%s\n' "$CONFIG" >"$WORK/config.toml"
    # Without devices, which the agent's unit closes. The shell in the root file system expands what is its own.
    # shellcheck disable=SC2016
    seen bash -c '
        rm /dev/kfd /dev/dri/*
        /programs/sdg-agent --sysroot /work/node --state /tmp/state --config /work/config.toml run >/tmp/said 2>&1 &
        until address=$(grep -o "http://[^ ]*" /tmp/said); do kill -0 $! || break; sleep 0.1; done
        python3 -c "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())" "$address" |
            sed -n "s/^sdg_board_\([a-z_]*\){gpu=.0.} /\1 /p"
        kill $!; cat /tmp/said >&2' 2>"$WORK/said" | sort | jq -Rsc 'split("\n") | map(split(" ") | select(length == 2) | {(.[0]): (.[1] | tonumber)}) | add
            | [.busy_ratio, .power_watts, .temperature_celsius]'
}

@test "what AMD's library says of a board is served, and what amd-smi shows is the same" {
    gpu_metrics 42 123
    CONFIG='amd_smi = true'
    served=$(board)
    echo "$served; $(cat "$WORK/said")"
    [ "$served" = '[0.42,123,35]' ]
    seen amd-smi metric --usage --power --temperature --json |
        jq -e '(.gpu_data // .)[0] | .usage.gfx_activity.value == 42 and .power.socket_power.value == 123 and .temperature.edge.value == 35'
}

@test "what the library does not say is sysfs's, and so is all where nobody asked for the library" {
    # Without amdgpu's table the library has no figure of busy and power.
    CONFIG='amd_smi = true'
    served=$(board)
    echo "$served; $(cat "$WORK/said")"
    [ "$served" = '[0,90,35]' ]
    gpu_metrics 42 123
    CONFIG=
    served=$(board)
    echo "$served; $(cat "$WORK/said")"
    [ "$served" = '[0,90,77]' ]
}
