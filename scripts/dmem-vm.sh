#!/usr/bin/env bash
# Runs a command on the kernel of dmem-kernel.sh, in qemu's software emulation: dmem-vm.sh COMMAND…
# The machine's file system is the guest's, through an overlay that forgets what is written; cgroup version 2 is
# mounted. The status is the command's.
set -euo pipefail
[ "$#" -gt 0 ] || { echo "usage: dmem-vm.sh COMMAND…" >&2; exit 64; }
kernel=${SDG_CACHE:-/var/cache/sdg}/dmem-kernel
[ -e "$kernel/bzImage" ] || { echo "dmem-vm.sh: no $kernel/bzImage: run scripts/dmem-kernel.sh first" >&2; exit 1; }

work=$(mktemp -d /tmp/sdg-vm.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/initramfs/{bin,proc}
cp /bin/busybox "$work/initramfs/bin/"
{
    for name in PATH HOME PROJECT SDG_DIST SDG_ROOTFS SDG_CACHE SDG_RUNTIME; do
        [ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'cd %q\n%s\n' "$PWD" "$(printf '%q ' "$@")"
} >"$work/initramfs/command"
cat >"$work/initramfs/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /lower /writable /root
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288 host /lower
mount -t tmpfs tmpfs /writable
mkdir /writable/upper /writable/work
mount -t overlay -o lowerdir=/lower,upperdir=/writable/upper,workdir=/writable/work overlay /root
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t tmpfs tmpfs /root/run
cp /command /root/run/command
# A root of its own in the mount namespace: runtimes pivot away from it.
exec switch_root /root /bin/bash -c 'echo "dmem-vm: begin"; bash /run/command </dev/null; echo "dmem-vm: status $?"
    exec busybox poweroff -f'
INIT
chmod 755 "$work/initramfs/init"
(cd "$work/initramfs" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"

timeout 540 qemu-system-x86_64 -accel tcg -cpu max -m 2048 -nographic -no-reboot -nic none -kernel "$kernel/bzImage" \
    -initrd "$work/initramfs.gz" -append "console=ttyS0 quiet loglevel=4 panic=-1" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap </dev/null |
    tr -d '\r' | tee "$work/output" | sed -n '/dmem-vm: begin/,/^dmem-vm: status/p' | sed '/dmem-vm: [bs]/d'
status=$(sed -n 's/^dmem-vm: status //p' "$work/output")
[ -n "$status" ] || { tail -n 45 "$work/output" >&2; echo "dmem-vm.sh: the guest did not come to the command's end" >&2; exit 1; }
exit "$status"
