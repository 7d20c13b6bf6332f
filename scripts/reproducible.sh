#!/usr/bin/env bash
# Builds the checkout a second time, in a copy below another directory, and compares: reproducible.sh DIST PACKAGES
set -euo pipefail
dist=${1:?what was laid out} packages=${2:?directory of its packages}
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
copy=$(mktemp -d "${TMPDIR:-/tmp}/sdg-again.XXXXXX")
trap 'rm -rf "$copy"' EXIT

git ls-files -z | tar --null --files-from - -c | tar -C "$copy" -x
make --silent -C "$copy" build
(cd "$copy" && scripts/dist.sh "$dist" "$packages" >/dev/null)
if ! diff "$packages/SHA256SUMS" "$copy/$packages/SHA256SUMS"; then
    diff -r --brief --no-dereference "$dist" "$copy/$dist" || true
    echo "reproducible: a second build of the same files has other hashes" >&2
    exit 1
fi
echo "A second build, elsewhere, has the same hashes."
