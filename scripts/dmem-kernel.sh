#!/usr/bin/env bash
# Builds, once, a small kernel with the cgroup controller dmem and a module that registers a region of device memory:
#   $SDG_CACHE/dmem-kernel/{bzImage,dmem_region.ko}
# From Debian's linux-source of sid, by the mirror that this machine's apt uses. Takes 10 minutes on 2 idle cores and
# 2 GB on the disk while it runs. Nothing of it is needed by `make test`; `make test-matrix` uses it if it is there.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
cache=${SDG_CACHE:-/var/cache/sdg}
out=$cache/dmem-kernel
[ ! -e "$out/bzImage" ] || exit 0
"$project/scripts/packages.sh" kernel

work=$(mktemp -d "$cache/dmem-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
log=$out.log
quietly() { "$@" >>"$log" 2>&1 || { tail -n 10 "$log" >&2; echo "dmem-kernel.sh: $1 failed; the whole output: $log" >&2; exit 1; }; }
: >"$log"

# apt with sid alone, in a directory of its own.
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $("$project/scripts/debian-root.sh" --mirror) sid main" >"$work/apt/sources.list"
apt=(-o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/apt/lists"
    -o "Dir::Cache=$work/apt/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root
    -o Acquire::Check-Valid-Until=false)
quietly apt-get "${apt[@]}" update
package=$(apt-cache "${apt[@]}" depends linux-source | sed -n 's/^ *Depends: //p' | head -n 1)
echo "Building a kernel with dmem from $package (once, into $out)"
cd "$work"
quietly apt-get "${apt[@]}" download "$package"
mkdir source build
dpkg-deb --fsys-tarfile "$package"_*.deb | tar -xO "./usr/src/$package.tar.xz" | tar -xJ --strip-components=1 -C source
cp -r "$project/tests/kernel" module

quietly make -C source O="$work/build" KCONFIG_ALLCONFIG="$project/tests/kernel/config" allnoconfig
grep -q '^CONFIG_CGROUP_DMEM=y' build/.config || { echo "dmem-kernel.sh: $package has no CONFIG_CGROUP_DMEM" >&2; exit 1; }
quietly nice make -C build -j"$(nproc)" bzImage modules
quietly make -C build M="$work/module" modules
mkdir -p "$out"
cp module/dmem_region.ko "$out/"
cp build/arch/x86/boot/bzImage "$out/"
echo "Built: $out"
