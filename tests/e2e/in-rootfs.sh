#!/usr/bin/env bash
# Runs a command in a root file system that forgets what the command writes: in-rootfs.sh ROOTFS CMD…
# /sys is the caller's. The GPUs' devices are those of $SDG_SYSROOT, which `sdg-sim run` sets, or else the machine's own.
# Each BINDS line "SOURCE TARGET" is bound into it read-only.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    exec unshare --mount --propagation private "$0" --inside "$@"
fi
shift
rootfs=${1:?usage: in-rootfs.sh ROOTFS CMD…}
shift

# All of this lives in a mount namespace of its own: it goes with the last process in it.
work=/mnt
mount -t tmpfs -o size=4g tmpfs "$work"
mkdir "$work"/{upper,work,root}
root=$work/root
mount -t overlay -o "lowerdir=$rootfs,upperdir=$work/upper,workdir=$work/work" overlay "$root"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir -m 1777 "$root/dev/shm"
mkdir "$root/dev/dri"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
for device in "${SDG_SYSROOT:-}"/dev/kfd "${SDG_SYSROOT:-}"/dev/dri/*; do
    [ ! -c "$device" ] || cp -a "$device" "$root/dev/${device#"${SDG_SYSROOT:-}/dev/"}"
done

while read -r source target; do
    [ -n "$source" ] || continue
    mkdir -p "$root$target"
    mount --bind -o ro "$source" "$root$target"
done <<<"${BINDS:-}"

exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/usr/sbin:/bin HOME=/root LC_ALL=C.UTF-8 ${ENVIRONMENT:-} "$@"
