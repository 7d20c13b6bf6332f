#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs and that are missing: packages.sh PURPOSE
# A list names what a machine with git, make and Rust lacks and no other package of the list brings along (Podman brings
# conmon, gcc binutils, lintian dpkg-dev). CI runs the commands on such machines: a package that is missing here
# fails there.
set -euo pipefail

build=(ca-certificates gcc jq libc6-dev)
demo=("${build[@]}" mmdebstrap podman runc)
test=("${demo[@]}" bats busybox-static crun gdb musl-tools procps python3-pip strace tmux)
matrix=("${test[@]}" bash-completion fish zsh)
fuzz=("${build[@]}" g++)
dist=("${build[@]}" lintian rpm rpmlint)
bench=("${test[@]}" time valgrind)
kernel=("${test[@]}" bc bison cpio flex kmod libelf-dev libssl-dev qemu-system-x86 xz-utils)
machine=("${build[@]}" e2fsprogs mmdebstrap musl-tools qemu-system-x86)
# What CI makes its machines with.
machines=(mmdebstrap)

purposes="build|demo|test|matrix|fuzz|dist|bench|kernel|machine|machines"
purpose=${1:?usage: packages.sh $purposes}
[[ $purpose =~ ^($purposes)$ ]] || { echo "packages.sh: $purpose: unknown purpose (expected $purposes)" >&2; exit 1; }
declare -n wanted=$purpose
missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "make: these Debian packages are missing and only root can install them: ${missing[*]}" >&2
    exit 1
fi
echo "Installing Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
        "${missing[@]}" >"$log" 2>&1
}
update() { apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Check-Valid-Until=false update >"$log" 2>&1; }
# The package lists of a fresh machine may be absent or old: one try with what is there, one after an update.
if ! install; then
    update || { tail -n 5 "$log" >&2; echo "make: apt-get update failed" >&2; exit 1; }
    install || { tail -n 15 "$log" >&2; echo "make: could not install: ${missing[*]}" >&2; exit 1; }
fi
