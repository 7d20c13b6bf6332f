#!/bin/sh
# Called before the package is removed: takes out of the engines' configuration what names programs that will be gone,
# and what sdg wrote outside its package. What people wrote stays.
for engine in podman docker containerd crio; do
    /usr/bin/sdg setup "$engine" --remove >/dev/null || echo "sdg: the configuration of $engine still names sdg" >&2
done
rm -f /etc/cdi/sdg-*.json
for directory in /etc/cdi /etc/containers/containers.conf.d /etc/crio/crio.conf.d; do
    [ ! -d "$directory" ] || rmdir --ignore-fail-on-non-empty "$directory"
done
# Slices of containers that still run stay: they end with their containers' devices, or with the uptime.
[ -n "$(ls -A /run/sdg/slices 2>/dev/null)" ] || rm -rf /run/sdg
exit 0
