//! Opens: whether the file that a process opens is one of our devices, or a file of the topology.
//!
//! A name is no proof, and a container has mounts and a root of its own: a path that could be a device's is looked up
//! as the caller would, and the node's device number decides.

use std::ffi::OsStr;
use std::fs::read_link;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, major, makedev, minor};

use crate::sys::Call;
use crate::tracee::{self, own_descriptor};

/// Device numbers of the node.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Of /dev/kfd.
    pub kfd: u64,
    render_minors: Vec<u32>,
}

impl Numbers {
    /// The KFD's major number, and the minors of the render nodes.
    pub fn new(kfd_major: u32, render_minors: Vec<u32>) -> Self {
        Self {
            kfd: makedev(u64::from(kfd_major), 0),
            render_minors,
        }
    }

    /// The device number of a render node.
    pub fn render(&self, minor: u32) -> u64 {
        makedev(u64::from(sdg_abi::drm::MAJOR), u64::from(minor))
    }

    /// The minor number, where the device is a render node.
    pub fn minor_of_render(&self, rdev: u64) -> Option<u32> {
        (rdev != self.kfd).then_some(minor(rdev) as u32)
    }

    fn has(&self, rdev: u64) -> bool {
        let is_render = major(rdev) == u64::from(sdg_abi::drm::MAJOR)
            && self.render_minors.contains(&(minor(rdev) as u32));
        rdev == self.kfd || is_render
    }
}

/// What an open of ours is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The device with this number.
    Device(u64),
    /// A file of the topology's node with this number.
    TopologyNode(u32),
}

/// What a call opens, and the call's flags; None where it is none of ours.
pub fn target_of(call: &Call, numbers: &Numbers) -> Option<(Target, i32)> {
    let (directory, path, flags) = match call.nr {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => (libc::AT_FDCWD, call.args[0], call.args[1] as i32),
        libc::SYS_openat => (call.args[0] as i32, call.args[1], call.args[2] as i32),
        _ => (call.args[0] as i32, call.args[1], how_flags(call)?),
    };
    let path = tracee::read_string(call.tid, path)?;
    let could_be_topology = TOPOLOGY_FILES.contains(&last_part(&path));
    if flags & (libc::O_PATH | libc::O_DIRECTORY) != 0 || !(could_be_topology || could_be_device(&path)) {
        return None;
    }
    let file = look_up(call.tid, directory, Path::new(OsStr::from_bytes(&path)), flags)?;
    if could_be_topology {
        let path = read_link(own_descriptor(&file)).ok()?;
        return Some((Target::TopologyNode(topology_node(&path)?), flags));
    }
    let status = fstat(&file).ok()?;
    let is_device = SFlag::from_bits_truncate(status.st_mode & libc::S_IFMT) == SFlag::S_IFCHR;
    (is_device && numbers.has(status.st_rdev)).then_some((Target::Device(status.st_rdev), flags))
}

/// The files of a topology node, and of what is below it.
const TOPOLOGY_FILES: [&[u8]; 3] = [b"gpu_id", b"name", b"properties"];

/// N of a path `…/kfd/topology/nodes/N/…`.
fn topology_node(path: &Path) -> Option<u32> {
    let (_, below) = path.to_str()?.rsplit_once("/kfd/topology/nodes/")?;
    below.split('/').next()?.parse().ok()
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The flags of openat2's `struct open_how`: its first 8 bytes.
fn how_flags(call: &Call) -> Option<i32> {
    let mut flags = [0; 8];
    tracee::read_memory(call.tid, call.args[2], &mut flags).ok()?;
    Some(u64::from_le_bytes(flags) as i32)
}

/// Whether the last part of a path could name a device of ours: kfd, renderD128, pci-0000:47:00.0-render, 226:128, and
/// the numbers of /proc/self/fd. Links of other names are not followed.
fn could_be_device(path: &[u8]) -> bool {
    let name = last_part(path);
    let contains = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    contains(b"kfd")
        || contains(b"render")
        || (contains(b":") && name.first().is_some_and(u8::is_ascii_digit))
}

/// Looks a path up as the caller would, without opening what is there; of `flags`, O_NOFOLLOW and O_DIRECTORY count.
pub fn look_up(tid: i32, directory: i32, path: &Path, flags: i32) -> Option<OwnedFd> {
    let follow = OFlag::from_bits_truncate(flags & (libc::O_NOFOLLOW | libc::O_DIRECTORY));
    let path_only = OFlag::O_PATH | OFlag::O_CLOEXEC | follow;
    let start = if path.is_absolute() {
        format!("/proc/{tid}/root")
    } else if directory == libc::AT_FDCWD {
        format!("/proc/{tid}/cwd")
    } else {
        format!("/proc/{tid}/fd/{directory}")
    };
    let start = open(start.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut how = OpenHow::new().flags(path_only);
    if path.is_absolute() {
        how = how.resolve(ResolveFlag::RESOLVE_IN_ROOT);
    }
    openat2(start, path, how).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_devices_have_are_looked_up() {
        for path in [
            "/dev/kfd",
            "kfd",
            "/dev/dri/renderD128",
            "/dev/dri/by-path/pci-0000:47:00.0-render",
            "/dev/char/226:128",
        ] {
            assert!(could_be_device(path.as_bytes()), "{path}");
        }
        for path in ["/etc/passwd", "/usr/lib/libc.so.6", "/dev/null", "", "/"] {
            assert!(!could_be_device(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_topology_file_is_its_nodes() {
        let node = |path: &str| topology_node(Path::new(path));
        let bank = "/devices/virtual/kfd/kfd/topology/nodes/11/mem_banks/0/properties";
        assert_eq!(node(bank), Some(11));
        assert_eq!(
            node("/sys/devices/virtual/kfd/kfd/topology/nodes/2/gpu_id"),
            Some(2)
        );
        assert_eq!(node("/sys/class/net/eth0/name"), None);
    }

    #[test]
    fn device_numbers_tell_the_kfd_from_render_nodes() {
        let numbers = Numbers::new(235, vec![128, 136]);
        assert!(numbers.has(numbers.kfd) && numbers.has(numbers.render(136)));
        assert!(!numbers.has(numbers.render(129)) && !numbers.has(makedev(236, 0)));
        assert_eq!(numbers.minor_of_render(numbers.render(136)), Some(136));
        assert_eq!(numbers.minor_of_render(numbers.kfd), None);
    }
}
