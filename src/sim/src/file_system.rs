//! What file system the node's /sys is on: `statfs` says sysfs, as programs ask before they believe in a device (libudev,
//! and by it udev, systemd and nvtop), where the kernel would say overlay, or what the node's directory is on.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};

use crate::namespace::{KFD, SYS_SOURCE};
use crate::opening::look_up;
use crate::sys::{self, Answer, Call};
use crate::tracee;

/// The answer to a `statfs` or `fstatfs`.
pub fn answer(call: &Call) -> Answer {
    let file = match call.nr {
        libc::SYS_fstatfs => by_descriptor(call.tid, call.args[0]),
        _ => by_name(call),
    };
    if !file.is_some_and(|file| is_nodes_sys(call.tid, &file)) {
        return Answer::Continue;
    }
    match tracee::write_memory(call.tid, call.args[1], &sys::sysfs_status()) {
        Ok(()) => Answer::Value(0),
        Err(_) => Answer::Error(libc::EFAULT),
    }
}

fn by_descriptor(tid: i32, fd: u64) -> Option<OwnedFd> {
    let path = format!("/proc/{tid}/fd/{}", fd as i32);
    open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

fn by_name(call: &Call) -> Option<OwnedFd> {
    let path = String::from_utf8(tracee::read_string(call.tid, call.args[0])?).ok()?;
    look_up(call.tid, libc::AT_FDCWD, Path::new(&path), 0)
}

/// Whether a file that thread `tid` sees is of the node's /sys: on the overlay, or on the KFD's directory in it.
fn is_nodes_sys(tid: i32, file: &OwnedFd) -> bool {
    let plain = [
        SYSFS_MAGIC,
        PROC_SUPER_MAGIC,
        CGROUP_SUPER_MAGIC,
        CGROUP2_SUPER_MAGIC,
    ];
    if fstatfs(file).is_ok_and(|status| plain.contains(&status.filesystem_type())) {
        return false;
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap_or_default();
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let mounts = fs::read_to_string(format!("/proc/{tid}/mountinfo")).unwrap_or_default();
    let mount = mounts
        .lines()
        .find(|line| line.split(' ').next() == id.map(str::trim));
    mount.is_some_and(is_mount_of_sys)
}

/// Whether a line of mountinfo is of a mount that [`crate::namespace`] shows as /sys, or as the KFD's part of it.
fn is_mount_of_sys(line: &str) -> bool {
    let Some((mount, file_system)) = line.split_once(" - ") else {
        return false;
    };
    let root = mount.split(' ').nth(3);
    let source = file_system.split(' ').nth(1);
    source == Some(SYS_SOURCE) || root.is_some_and(|root| Path::new(root).ends_with(KFD))
}

#[cfg(test)]
mod tests {
    use super::is_mount_of_sys;

    #[test]
    fn the_nodes_sys_is_told_from_other_mounts() {
        let overlay =
            "55 30 0:50 / /sys rw,relatime shared:9 - overlay sdg-sim-sys rw,lowerdir=/dev/shm/n/sys:/sys";
        let kfd =
            "56 55 0:26 /sdg-sim.a/sys/devices/virtual/kfd /sys/devices/virtual/kfd rw - tmpfs tmpfs rw";
        let dev = "60 30 0:51 / /dev rw - overlay sdg-sim rw,lowerdir=/dev";
        let cgroups = "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert!(is_mount_of_sys(overlay) && is_mount_of_sys(kfd));
        assert!(!is_mount_of_sys(dev) && !is_mount_of_sys(cgroups) && !is_mount_of_sys(""));
    }
}
