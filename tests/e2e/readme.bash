# Loaded by readme.bats: the README's commands, and a machine that is as the README expects it.

# fenced WORD: the content of README's blocks whose fence is `sh WORD`, in order.
fenced() { awk -v fence="\`\`\`sh $1" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' "$PROJECT/README.md"; }

# as_printed WORD: the same as a program, which shows each command and ends with the first that fails.
as_printed() {
    local script=$BATS_FILE_TMPDIR/$1.sh
    { echo 'set -eux' && fenced "$1"; } >"$script"
    # A fence that nobody wrote proves nothing.
    [ "$(wc -l <"$script")" -gt 1 ]
    echo "$script"
}

# Podman that works without systemd, in a VM without CAP_SYS_RESOURCE, and gives each container ROCm's user space.
podman_of_this_machine() {
    cat >/etc/containers/containers.conf <<-TOML
		[containers]
		netns = "none"
		default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
		volumes = ["$SDG_ROOTFS/usr:/usr:ro"]
		[engine]
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "none"
	TOML
}

# The tree of an image that has no more than where ROCm's /usr goes.
image_tar() {
    local root=$BATS_FILE_TMPDIR/image
    mkdir -p "$root"/{usr,etc,proc,sys,dev,tmp,run}
    ln -s usr/bin "$root/bin"
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    tar -C "$root" -c .
}

# What is on the machine: names, modes and links, where packages and people have things, without what the
# package manager and the engines note for themselves.
snapshot() {
    find /etc /usr /opt /var/lib /run -xdev \
        \( -path /var/lib/containers -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /run/containers -o -path /run/libpod \
        -o -path /run/crun -o -path /run/runc -o -path /run/netns -o -path /run/lock -o -path /etc/ld.so.cache \) -prune \
        -o -printf '%p %M %l\n' | LC_ALL=C sort
}

# changes_since SNAPSHOT: what came and went since then.
changes_since() {
    snapshot | diff "$1" - | awk '/^[<>]/ { print $1, $2 }'
}
