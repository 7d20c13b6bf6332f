#!/usr/bin/env bash
# Makes the packages of what `make build` laid out: dist.sh DIST PACKAGES
# The same commit gives the same bytes: every time in them is the commit's.
set -euo pipefail
dist=${1:?what was laid out} packages=${2:?directory of the packages}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export PATH=${SDG_CACHE:-/var/cache/sdg}/tools/bin:$PATH
# Permissions of directories in the packages are not the caller's taste.
umask 022

for tool in cargo-deb cargo-generate-rpm; do
    command -v "$tool" >/dev/null && continue
    echo "Building $tool into ${SDG_CACHE:-/var/cache/sdg}/tools (some minutes, once)"
    cargo install "$tool" --locked --quiet --no-default-features --root "${SDG_CACHE:-/var/cache/sdg}/tools"
done

version=$(cargo pkgid -p sdg | sed 's/.*[#@]//')
grep -q "^## \[$version\] - " CHANGELOG.md || { echo "dist.sh: CHANGELOG.md says nothing of $version" >&2; exit 1; }

# Debian wants the changelog in its own form.
mkdir -p target/dist-deb
{
    echo "sdg ($version-1) unstable; urgency=medium"
    echo
    awk -v heading="## [$version]" '
        index($0, "## [") == 1 { inside = index($0, heading) == 1; next }
        inside && /^- / { sub(/^- /, ""); items[++count] = $0; next }
        inside && /^  [^ ]/ { sub(/^ +/, " "); items[count] = items[count] $0 }
        END { for (i = 1; i <= count; i++) print "  * " items[i] }' CHANGELOG.md | fold -s -w 76 | sed 's/ *$//; s/^[^ ]/    &/'
    echo
    echo " -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)  $(date -Ru -d "@$SOURCE_DATE_EPOCH")"
} >target/dist-deb/changelog

rm -rf "$packages"
mkdir -p "$packages"
find "$dist" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
cargo deb --quiet --no-build --no-strip --output "$packages/"
cargo generate-rpm --output "$packages/"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime "@$SOURCE_DATE_EPOCH" --mode=u=rwX,go=rX -C "$dist" -c . |
    gzip -9n >"$packages/sdg-$version-linux-x86_64.tar.gz"

lintian --allow-root --fail-on error,warning "$packages"/*.deb
rpmlint --config packaging/rpm/rpmlint.toml "$packages"/*.rpm >"$packages/rpmlint.log" ||
    { cat "$packages/rpmlint.log" >&2; exit 1; }
rm "$packages/rpmlint.log"
(cd "$packages" && sha256sum -- *.deb *.rpm *.tar.gz | tee SHA256SUMS)
