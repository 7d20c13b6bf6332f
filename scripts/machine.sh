#!/usr/bin/env bash
# Runs the files of tests/machine/ on a machine as users have it: Debian trixie with its kernel, systemd as PID 1 and cgroup v2, on a
# simulated node, with the deb of `make dist` installed by tests: machine.sh DIST PACKAGES
# The machine is emulated: a KVM that is there may not work. Its disk is made once, under $SDG_CACHE/machine; what a run writes to
# it is forgotten. A second one brings the tests, what they test, and ROCm.
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
engines=podman,catatonit,crun,runc,netavark,aardvark-dns,passt,uidmap,docker.io,docker-cli,iptables,nftables
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

work=$(mktemp -d "${TMPDIR:-/tmp}/sdg-machine.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The second disk, which the machine has at /mnt.
mkdir -p "$work/mnt/project/target"
cp -a "$project"/{examples,scripts,tests} "$work/mnt/project/"
cp -a "$project/target/e2e" "$work/mnt/project/target/"
cp -a "$dist" "$work/mnt/dist"
cp -a "$packages" "$work/mnt/packages"
cp -a "$rocm" "$work/mnt/rocm"
mke2fs -q -t ext4 -d "$work/mnt" "$work/disk" 4G
rm -rf "${work:?}/mnt"

drive() { echo "-drive file=$1,format=raw,if=virtio,snapshot=on"; }
# Each drive's option is two words.
# shellcheck disable=SC2046
timeout "${SDG_MACHINE_SECONDS:-3000}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 4096 -display none -nic none \
    -kernel "$machine/vmlinuz" -initrd "$machine/initrd" \
    -append "root=/dev/vda rw init=/sbin/sdg-init console=ttyS0 panic=-1 quiet ${SDG_MACHINE_APPEND:-}" \
    $(drive "$machine/disk") $(drive "$work/disk") \
    -serial "file:$work/console.log" -serial stdio </dev/null | sed -u 's,\r$,,' | tee "$work/output" || true
if ! grep -q '^machine: ended' "$work/output"; then
    tail -n 60 "$work/console.log" >&2
    echo "machine.sh: the machine did not come to the tests' end" >&2
    exit 1
fi
! grep -q '^not ok' "$work/output"
