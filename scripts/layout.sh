#!/usr/bin/env bash
# Lays out what was built as it will be installed: layout.sh TARGET DIST
set -euo pipefail
target=${1:?target triple} dist=${2:?directory}

rm -rf "$dist"
install -D -m 755 "target/$target/release/sdg" "$dist/usr/bin/sdg"
ln -s sdg "$dist/usr/bin/sdg-runtime"
for program in sdg-agent sdg-sim; do install -D -m 755 "target/release/$program" "$dist/usr/bin/$program"; done
install -D -m 644 target/release/libsdg.so "$dist/usr/lib/sdg/libsdg.so"
install -D -m 755 packaging/forget-engines.sh "$dist/usr/lib/sdg/forget-engines"
install -D -m 644 packaging/config.toml "$dist/etc/sdg/config.toml"
# Podman's precreate file has a directory of its own: in the one that CRI-O reads too it would stop CRI-O from starting.
install -D -m 644 -t "$dist/usr/share/sdg/hooks.d/podman" hooks.d/podman/*.json
install -D -m 644 -t "$dist/usr/share/sdg/hooks.d/crio" hooks.d/crio/*.json
install -D -m 644 -t "$dist/usr/share/sdg/grafana" packaging/grafana/*.json
install -D -m 644 -t "$dist/usr/lib/systemd/system" packaging/systemd/*.service
install -D -m 644 -t "$dist/usr/lib/udev/rules.d" packaging/udev/*.rules
install -D -m 644 -t "$dist/usr/lib/tmpfiles.d" packaging/tmpfiles.d/*.conf
install -D -m 644 -t "$dist/usr/lib/sysusers.d" packaging/sysusers.d/*.conf

doc=$dist/usr/share/doc/sdg
install -D -m 644 -t "$doc/cdi" cdi/*.json
install -D -m 644 -t "$doc/docs" docs/*
cp -r --no-preserve=mode examples packaging/kubernetes packaging/grafana "$doc"
install -D -m 644 README.md "$doc/README.md"
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
scripts/notices.sh | gzip -9n >"$doc/third-party.txt.gz"
target/release/sdg-manual "$dist/usr/share"
gzip -9n "$dist"/usr/share/man/man1/*.1
echo "Built: $dist ($(du -sh "$dist" | cut -f1))"
