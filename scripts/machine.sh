#!/usr/bin/env bash
# Runs the files of tests/machine/ on a machine as users have it: Debian trixie with its kernel, systemd as PID 1 and cgroup v2, on a
# simulated node, with the deb of `make dist` installed by tests: machine.sh DIST PACKAGES
# The machine is emulated: a KVM that is there may not work. Its disk is made once, under $SDG_CACHE/machine; what a run writes to
# it is forgotten. The checkout and ROCm's root file system are shared with it, for reading.
#
#   qemu: kernel → initrd → tests/machine/init → sdg-sim run --keep-pid -- systemd → sdg-tests.service → tests/machine/run
#         ttyS0 → console.log, ttyS1 → what this prints
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
dist=$(cd "${1:?usage: machine.sh DIST PACKAGES}" && pwd)
packages=$(cd "${2:?usage: machine.sh DIST PACKAGES}" && pwd)
cache=${SDG_CACHE:-/var/cache/sdg}
machine=$cache/machine
rocm=$cache/rootfs/rocm-7.2
[ "$(id -u)" -eq 0 ] || { echo "machine.sh: making a disk needs root" >&2; exit 1; }

# The kernel, systemd with what a user session needs, both engines with what they run by default, and what the tests call.
system=systemd-sysv,udev,dbus-user-session,libpam-systemd,linux-image-amd64,initramfs-tools,kmod
engines=podman,crun,runc,netavark,aardvark-dns,passt,uidmap,docker.io,docker-cli,iptables,nftables
tests=bats,jq,busybox-static,procps,python3-minimal
contents="$system,$engines,$tests"

make_disk() {
    echo "Making the disk of a machine with Debian trixie (once, into $machine)"
    rm -rf "$machine/root"
    "$project/scripts/debian-root.sh" trixie "$machine/root" --variant=minbase --include="$contents" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    install -m 755 "$project/tests/machine/init" "$machine/root/sbin/sdg-init"
    cp "$machine"/root/boot/vmlinuz-* "$machine/vmlinuz"
    cp "$machine"/root/boot/initrd.img-* "$machine/initrd"
    rm -f "$machine/disk"
    mke2fs -q -t ext4 -d "$machine/root" "$machine/disk" 6G
    rm -rf "$machine/root"
    cat "$project/tests/machine/init" - <<<"$contents" >"$machine/made-of"
}

mkdir -p "$machine"
exec 9>"$machine/lock"
flock 9
cmp -s "$machine/made-of" <(cat "$project/tests/machine/init" - <<<"$contents") || make_disk
exec 9>&-
"$dist/usr/bin/sdg-sim" rootfs --rocm 7.2 "$rocm"
make --silent -C "$project/tests/e2e/programs"

work=$(mktemp -d /tmp/sdg-machine.XXXXXX)
trap 'rm -rf "$work"' EXIT
share() { echo "-virtfs local,path=$1,mount_tag=$2,security_model=none,readonly=on,multidevs=remap"; }
# Each share's option is several words.
# shellcheck disable=SC2046
timeout "${SDG_MACHINE_SECONDS:-3000}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 4096 -display none -nic user \
    -kernel "$machine/vmlinuz" -initrd "$machine/initrd" \
    -append "root=/dev/vda rw init=/sbin/sdg-init console=ttyS0 panic=-1 quiet ${SDG_MACHINE_APPEND:-}" \
    -drive "file=$machine/disk,format=raw,if=virtio,snapshot=on" \
    $(share "$project" project) $(share "$dist" dist) $(share "$packages" packages) $(share "$rocm" rocm) \
    -serial "file:$work/console.log" -serial stdio </dev/null | tr -d '\r' | tee "$work/output" || true
if ! grep -q '^machine: ended' "$work/output"; then
    tail -n 60 "$work/console.log" >&2
    echo "machine.sh: the machine did not come to the tests' end" >&2
    exit 1
fi
! grep -q '^not ok' "$work/output"
