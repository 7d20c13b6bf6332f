# A machine on which sdg was never run: the package is installed, an engine is told, and what README shows works.

setup() { . "$PROJECT/tests/machine/machine.bash"; }

@test "systemd is PID 1 on a simulated node, with cgroup v2; udev knows the GPU" {
    [ "$(ps -o comm= -p 1)" = systemd ]
    [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]
    # What the kernel of a real machine does: devices have appeared.
    [ "$(systemctl is-system-running --wait)" = running ] || { systemctl --failed; journalctl --boot --priority=err; false; }
    run udevadm info /dev/dri/renderD128
    echo "$output"
    [[ $output == *DEVNAME=/dev/dri/renderD128* && $output == *SUBSYSTEM=drm* ]]
}

@test "the package installs, says what is off, and writes the device files" {
    run dpkg --install /mnt/packages/sdg_*_amd64.deb
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"systemctl enable --now sdg-agent"* ]]
    [ "$(systemctl is-enabled sdg-agent sdg-cdi-refresh | xargs)" = "disabled enabled" ]
    sdg cdi list | grep '^sdg.exostellar.io/gpu=0 '
}

@test "the udev rule writes them anew when the KFD or a render node changes" {
    for device in /sys/class/kfd/kfd /sys/class/drm/renderD128; do
        run udevadm test --action=add "$device"
        echo "$output"
        [[ $output == *"systemctl --no-block restart sdg-cdi-refresh.service"* ]]
    done
    rm /etc/cdi/sdg-*.json
    systemctl restart sdg-cdi-refresh
    sdg cdi list | grep '^sdg.exostellar.io/gpu=0 '
}

@test "the agent, as a service, with broker, watchdog and metrics, sees the GPU; without its render node it says so" {
    printf 'broker = true\nmetrics = "127.0.0.1:9464"\n' >>/etc/sdg/config.toml
    systemctl enable --now sdg-agent
    wait_for "the broker" test -S /run/sdg/broker.sock
    journalctl -u sdg-agent -b | grep 'sees all GPUs gpus=1'
    run sdg doctor
    echo "$output"
    [[ $output == *" agent              answers"$'\n'* ]]
    metrics() { exec 4<>/dev/tcp/127.0.0.1/9464 && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&4 && cat <&4; }
    wait_for "the metrics" metrics
    metrics | grep 'sdg_gpu_memory_capacity_bytes{gpu="0"} 2056'

    mkdir /run/systemd/system/sdg-agent.service.d
    printf '[Service]\nDeviceAllow=\n' >/run/systemd/system/sdg-agent.service.d/closed.conf
    systemctl daemon-reload
    systemctl restart sdg-agent
    warned() { journalctl -u sdg-agent -b | grep 'sees 0 of 1 GPUs: GPU 0 .* is left out: .*DeviceAllow=char-drm rw'; }
    wait_for "its warning" warned
    wait_for "its socket" test -S /run/sdg/guard.sock
    run sdg doctor
    echo "$output"
    [[ $output == *" agent              answers, but sees 0 of 1 GPUs"* ]]
    rm -r /run/systemd/system/sdg-agent.service.d
    systemctl daemon-reload
    systemctl restart sdg-agent
    wait_for "the broker" test -S /run/sdg/broker.sock
}
