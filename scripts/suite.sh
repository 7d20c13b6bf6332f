#!/usr/bin/env bash
# Runs a command in a root file system of a Debian suite; what it writes there is forgotten:
#   suite.sh SUITE COMMAND…          with that suite's container engines
#   suite.sh --bare SUITE COMMAND…   as README expects a machine: git, make and Rust (this machine's), and nothing else
# The root is made on first use under $SDG_CACHE/suites. The checkout, the cache, /proc, /sys, /dev and /tmp are the
# machine's own; a pivot_root, not a chroot, because container engines pivot again.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
cache=${SDG_CACHE:-/var/cache/sdg}
project=${scripts%/*}

bare=
if [ "${1:-}" = --bare ]; then
    bare=-bare
    shift
fi
suite=${1:?usage: suite.sh [--bare] SUITE COMMAND…}
shift
root=$cache/suites/$suite$bare

if [ -n "$bare" ]; then
    packages=git,make
else
    packages=podman,conmon,crun,runc,containerd,jq,bats,perl,procps,util-linux,mount,busybox-static,curl,ca-certificates,protobuf-compiler
    # bookworm's Docker (20.10) knows neither annotations nor CDI.
    [ "$suite" = bookworm ] || packages+=,docker.io,docker-cli,docker-compose,podman-compose
    # Not on the machine itself, where its package would start it.
    [ "$suite" != trixie ] || packages+=,prometheus,python3
fi

# A root that was made with other packages, by another version of this script, is made anew; once, by who comes first.
mkdir -p "$cache/suites"
exec 9>"$root.lock"
flock 9
if [ "$(cat "$root/.packages" 2>/dev/null)" != "$packages" ]; then
    echo "Making a root file system of Debian $suite (once, into $root)"
    "$scripts/debian-root.sh" "$suite" "$root" --variant=minbase --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    echo "$packages" >"$root/.packages"
fi
exec 9>&-

binds=("$project" "$cache")
environment=()
if [ -n "$bare" ]; then
    rust=$(rustc --print sysroot)
    [ "$rust" != /usr ] || { echo "suite.sh: --bare takes Rust as rustup installs it, and this machine's is Debian's" >&2; exit 1; }
    binds+=("$rust")
    environment=(env -i PATH="$rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME="$HOME" LANG=C.UTF-8)
    for variable in CI CARGO_TERM_COLOR CARGO_INCREMENTAL "${!SDG_@}"; do
        [ -z "${!variable:-}" ] || environment+=("$variable=${!variable}")
    done
fi

# The arguments reach the inner shell as its own, never as text.
# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -euc '
root=$1 project=$2 count=$3
shift 3
# Engines keep containers on an overlay of their own, which cannot lie on this one.
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/containers
mount -t overlay -o lowerdir="$root",upperdir=/mnt/upper,workdir=/mnt/work overlay "$root"
mkdir -p "$root/var/lib/containers"
mount --bind /mnt/containers "$root/var/lib/containers"
for directory in proc sys dev tmp; do mount --rbind "/$directory" "$root/$directory"; done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
for directory in "${@:1:count}"; do
    mkdir -p "$root$directory"
    mount --rbind "$directory" "$root$directory"
done
shift "$count"
# Names in the network, and whom this machine trusts there.
for file in /etc/resolv.conf /etc/hosts /usr/local/share/ca-certificates; do
    [ ! -e "$file" ] || cp -RL "$file" "$root${file%/*}/"
done
mkdir -p "$root/.machine"
cd "$root"
pivot_root . .machine
umount -l /.machine
cd "$project"
exec "$@"' suite "$root" "$project" "${#binds[@]}" "${binds[@]}" "${environment[@]}" "$@"
