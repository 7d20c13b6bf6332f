#!/usr/bin/env bash
# Makes a root file system of a Debian suite, or with --format=tar a file of one:
#   debian-root.sh SUITE TARGET MMDEBSTRAP-OPTION…
#   debian-root.sh --mirror   prints the Debian mirror that they come from
set -euo pipefail

# The mirror that this machine's apt uses for its own suite.
mirror() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' |
        awk -v codename="$codename" '$2 == codename || $2 == "unstable" { print $1; exit }'
}

if [ "${1:-}" = --mirror ]; then
    mirror
    exit
fi
suite=${1:?usage: debian-root.sh SUITE TARGET MMDEBSTRAP-OPTION…} target=${2:?directory or file}
shift 2
uri=$(mirror)
[ -n "$uri" ] || { echo "debian-root.sh: apt here knows no Debian mirror (apt-get indextargets shows none)" >&2; exit 1; }
mkdir -p "$(dirname "$target")"
if ! mmdebstrap --mode=root --aptopt='Acquire::Check-Valid-Until "false"' "$@" "$suite" "$target.new" \
    "deb $uri $suite main" >"$target.log" 2>&1; then
    tail -n 5 "$target.log" >&2
    echo "debian-root.sh: mmdebstrap of $suite failed; its whole output: $target.log" >&2
    rm -rf "$target.new"
    exit 1
fi
rm -rf "$target"
mv "$target.new" "$target"
