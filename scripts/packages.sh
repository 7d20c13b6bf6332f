#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs and that are missing: packages.sh build|demo|test|kernel|bench|fuzz|dist
set -euo pipefail

build=(gcc libc6-dev jq)
demo=("${build[@]}" podman conmon crun runc mmdebstrap debian-archive-keyring)
test=("${demo[@]}" bash-completion bats binutils fish musl-tools busybox-static perl procps prometheus python3 python3-pip strace tmux zsh)
kernel=("${test[@]}" gcc make flex bison bc libelf-dev libssl-dev xz-utils cpio kmod qemu-system-x86)
bench=("${test[@]}" time valgrind)
fuzz=("${build[@]}" g++)
dist=("${build[@]}" dpkg-dev lintian rpm rpmlint)

declare -n wanted="${1:?usage: packages.sh build|demo|test|kernel|bench|fuzz|dist}"
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
