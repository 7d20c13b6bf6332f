#!/usr/bin/env bash
# Checks that what was laid out runs where it should: portability.sh DIST
# The shim is loaded into images as old as CentOS 7 and Ubuntu 18.04; sdg itself runs on any Linux.
set -euo pipefail
dist=${1:?directory}
shim=$dist/usr/lib/sdg/libsdg.so program=$dist/usr/bin/sdg
newest_allowed=2.17
failed=0

complain() {
    echo "portability: $*" >&2
    failed=1
}

symbols=$(objdump -T "$shim" | awk '/\*UND\*/ { print $NF, $(NF - 1) }' | tr -d '()' | LC_ALL=C sort)
echo "$shim takes from the image's libc:"
sed 's/^/    /' <<<"$symbols"
newest=$(grep -o 'GLIBC_[0-9.]*' <<<"$symbols" | sed 's/GLIBC_//' | sort -V | tail -n 1)
[ -n "$newest" ] || complain "no version of glibc was found in $shim"
[ "$(printf '%s\n' "$newest" "$newest_allowed" | sort -V | tail -n 1)" = "$newest_allowed" ] ||
    complain "$shim needs glibc $newest, more than $newest_allowed"
libraries=$(objdump -p "$shim" | awk '$1 == "NEEDED" { print $2 }')
[ "$libraries" = libc.so.6 ] || complain "$shim needs $libraries, not libc.so.6 alone"

! objdump -p "$program" | grep -q NEEDED || complain "$program needs libraries"
! readelf --program-headers "$program" | grep -q INTERP || complain "$program needs a loader"
[ "$failed" -ne 0 ] || echo "newest: glibc $newest (allowed: $newest_allowed); sdg is static"
exit "$failed"
