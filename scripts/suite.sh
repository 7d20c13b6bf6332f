#!/usr/bin/env bash
# Runs a command in a root file system of another Debian suite, with that suite's container engines:
#   suite.sh SUITE COMMAND…
#   suite.sh --fresh SUITE COMMAND…   what the command writes is forgotten
# The root is made on first use under $SDG_CACHE/suites. The checkout, the cache, /proc, /sys, /dev and /tmp are the
# machine's own; a pivot_root, not a chroot, because container engines pivot again.
set -euo pipefail
cache=${SDG_CACHE:-/var/cache/sdg}
project=$(cd "$(dirname "$0")/.." && pwd)
packages=podman,conmon,crun,runc,jq,bats,perl,procps,util-linux,mount,busybox-static

fresh=
if [ "${1:-}" = --fresh ]; then
    fresh=yes
    shift
fi
suite=${1:?usage: suite.sh [--fresh] SUITE COMMAND…}
shift
root=$cache/suites/$suite

# A root that was made with other packages, by another version of this script, is made anew.
if [ "$(cat "$root/.packages" 2>/dev/null)" != "$packages" ]; then
    echo "Making a root file system of Debian $suite with its container engines (once, into $root)"
    "$project/scripts/debian-root.sh" "$suite" "$root" --variant=minbase --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    echo "$packages" >"$root/.packages"
fi

# The arguments reach the inner shell as its own, never as text.
# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -euc '
root=$1 project=$2 cache=$3 fresh=$4
shift 4
if [ -n "$fresh" ]; then
    # Engines keep containers on an overlay of their own, which cannot lie on this one.
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/containers
    mount -t overlay -o lowerdir="$root",upperdir=/mnt/upper,workdir=/mnt/work overlay "$root"
    mkdir -p "$root/var/lib/containers"
    mount --bind /mnt/containers "$root/var/lib/containers"
else
    mount --bind "$root" "$root"
fi
for directory in proc sys dev tmp; do mount --rbind "/$directory" "$root/$directory"; done
mount -t tmpfs tmpfs "$root/run"
for directory in "$project" "$cache"; do
    mkdir -p "$root$directory"
    mount --rbind "$directory" "$root$directory"
done
mkdir -p "$root/.machine"
cd "$root"
pivot_root . .machine
umount -l /.machine
cd "$project"
exec "$@"' suite "$root" "$project" "$cache" "$fresh" "$@"
