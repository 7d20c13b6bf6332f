#!/usr/bin/env bash
# Runs a command in a root file system of a Debian suite as suite.sh does, with containerd and Docker beside Podman:
#   engine-suite.sh SUITE COMMAND…
# The packages are added to the suite's root on first use. bookworm's Docker (20.10) knows neither annotations nor CDI
# and is left out.
set -euo pipefail
suite=${1:?usage: engine-suite.sh SUITE COMMAND…}
shift
scripts=$(cd "$(dirname "$0")" && pwd)
root=${SDG_CACHE:-/var/cache/sdg}/suites/$suite
packages=(containerd runc crun bats jq busybox-static curl ca-certificates protobuf-compiler)
[ "$suite" = bookworm ] || packages+=(docker.io docker-cli docker-compose podman-compose)

if [ "$(cat "$root/.engines" 2>/dev/null)" != "${packages[*]}" ]; then
    log=$root.engines.log
    "$scripts/suite.sh" "$suite" true
    # No daemon is started by its package.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    echo "Adding containerd and Docker to the root file system of Debian $suite (once)"
    # The arguments reach the inner shell as its own, never as text.
    # shellcheck disable=SC2016
    if ! "$scripts/suite.sh" "$suite" sh -euc '
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o Acquire::Check-Valid-Until=false update
        apt-get install -y --no-install-recommends "$@"
        apt-get clean' sh "${packages[@]}" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "engine-suite.sh: packages of $suite could not be installed; the whole output: $log" >&2
        exit 1
    fi
    echo "${packages[*]}" >"$root/.engines"
fi
exec "$scripts/suite.sh" "$suite" "$@"
