# Loaded by rpm.bats.

in_root() { chroot "$ROOT" "$@"; }

# Debian's rpm has its database in root's home directory unless it is told.
rpm_in_root() { rpm --root "$ROOT" --dbpath /var/lib/rpm "$@"; }

# What is in the root, but for rpm's own database and the kernel's files.
names() {
    find "$ROOT" \( -path "$ROOT/var/lib/rpm" -o -path "$ROOT/proc" \) -prune -o -printf '%P\n' | LC_ALL=C sort
}
