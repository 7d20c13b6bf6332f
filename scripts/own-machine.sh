#!/usr/bin/env bash
# Runs a command with processes, network (loopback alone), /run, /etc, shared memory and container storage of its own, so that
# several can run side by side; what it leaves running ends with it: own-machine.sh COMMAND…
set -euo pipefail
# The arguments reach the inner shell as its own, never as text.
# shellcheck disable=SC2016
exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net --ipc bash -euc '
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/etc /mnt/work /mnt/containers /var/lib/containers
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work overlay /etc
mount --bind /mnt/containers /var/lib/containers
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
busybox ip link set lo up
"$@"' own-machine "$@"
