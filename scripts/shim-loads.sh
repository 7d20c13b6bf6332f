#!/usr/bin/env bash
# Loads the shim into a program of the oldest and of the newest Debian suites that the mirror has: shim-loads.sh DIST
# Of each suite only the C library and the simplest programs are fetched (once, some seconds).
set -euo pipefail
shim=${1:?directory}/usr/lib/sdg/libsdg.so
roots=${SDG_CACHE:-/var/cache/sdg}/libc
scripts=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tmp"
cp "$shim" "$work/tmp/libsdg.so"

# load ROOT: with these variables the loader resolves every symbol of what it loads, lists the libraries, and ends.
load() {
    # The arguments reach the inner shell as its own, never as text.
    # shellcheck disable=SC2016
    unshare --mount sh -euc 'mount --bind "$2" "$1/tmp" && exec chroot "$1" env LD_BIND_NOW=1 LD_PRELOAD=/tmp/libsdg.so \
        LD_TRACE_LOADED_OBJECTS=1 cat' loader "$1" "$work/tmp" 2>&1
}

for suite in bullseye sid; do
    root=$roots/$suite
    if [ ! -d "$root" ]; then
        echo "Fetching the C library of Debian $suite (once, into $root)"
        "$scripts/debian-root.sh" "$suite" "$root" --variant=extract --include=base-files,libc6,coreutils
    fi
    load "$root" >"$work/output" || true
    if ! grep -q '/tmp/libsdg.so (0x' "$work/output" || grep -qiE 'not found|error' "$work/output"; then
        cat "$work/output" >&2
        echo "shim-loads: libsdg.so does not load in Debian $suite" >&2
        exit 1
    fi
    echo "Debian $suite: libsdg.so loads"
done
