//! A container's /sys: where a container runtime mounts a sysfs, the container gets the node's in its place.
//!
//! Only `mount` and `fsopen` show that a runtime is about to. The new interface's context gives no place to step in, so
//! `fsopen("sysfs")` is answered as by a kernel that does not have it, and the runtime falls back to `mount`. That call
//! is served here: a helper ([`attach`]) takes a copy of the tree that the namespace keeps for containers
//! ([`crate::namespace::CONTAINER_SYS`]) and attaches it in the caller's namespace. A sysfs where this network's is mounted
//! already is refused, as by the kernel (`do_add_mount()`): libselinux tries that in every systemd.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::namespace::CONTAINER_SYS;
use crate::opening::look_up;
use crate::sys::{self, Answer, Call};
use crate::tracee;

/// Flags with which `mount` makes no new file system.
const NO_NEW_MOUNT: u64 = libc::MS_BIND
    | libc::MS_REMOUNT
    | libc::MS_MOVE
    | libc::MS_SHARED
    | libc::MS_PRIVATE
    | libc::MS_SLAVE
    | libc::MS_UNBINDABLE;

/// What answers `mount` and `fsopen`.
#[derive(Debug)]
pub struct SysMounts {
    namespace: File,
    tree: PathBuf,
    /// The root directory of the namespace's /sys, and the network namespace whose sysfs it stands for.
    mounted: FileId,
    network: FileId,
}

/// Device and inode.
type FileId = (u64, u64);

fn id_of(path: &str) -> io::Result<FileId> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

impl SysMounts {
    /// For the namespace of process `pid`, which shows the node at `sysroot`.
    pub fn new(pid: Pid, sysroot: &Path) -> io::Result<Self> {
        let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
        Ok(Self {
            namespace,
            tree: sysroot.join(CONTAINER_SYS),
            mounted: id_of(&format!("/proc/{pid}/root/sys"))?,
            network: id_of(&format!("/proc/{pid}/ns/net"))?,
        })
    }

    /// The answer to a `mount` or `fsopen`.
    pub fn handle(&self, call: &Call) -> Answer {
        let is_sysfs =
            |address: u64| tracee::read_string(call.tid, address).is_some_and(|name| name == b"sysfs");
        match call.nr {
            libc::SYS_fsopen if is_sysfs(call.args[0]) => Answer::Error(libc::ENOSYS),
            libc::SYS_mount if call.args[3] & NO_NEW_MOUNT == 0 && is_sysfs(call.args[2]) => {
                // Where the helper fails, the caller gets what it asked for: a sysfs without the node.
                match target_of(call) {
                    Some(target) if self.is_mounted_at(call.tid, &target) => Answer::Error(libc::EBUSY),
                    Some(target) if self.attach_at(call.tid, &target).is_some() => Answer::Value(0),
                    _ => Answer::Continue,
                }
            }
            _ => Answer::Continue,
        }
    }

    fn is_mounted_at(&self, tid: i32, target: &OwnedFd) -> bool {
        let network = id_of(&format!("/proc/{tid}/ns/net"));
        network.is_ok_and(|network| network == self.network)
            && id_of(&descriptor_path(target.as_raw_fd())).is_ok_and(|root| root == self.mounted)
    }

    fn attach_at(&self, tid: i32, target: &OwnedFd) -> Option<()> {
        let theirs = File::open(format!("/proc/{tid}/ns/mnt")).ok()?;
        let status = Command::new("/proc/self/exe")
            .arg("attach")
            .arg(&self.tree)
            .args([self.namespace.as_raw_fd(), theirs.as_raw_fd(), target.as_raw_fd()].map(descriptor_path))
            .status()
            .ok()?;
        status.success().then_some(())
    }
}

/// A descriptor of this process as another can open it.
fn descriptor_path(fd: i32) -> String {
    format!("/proc/{}/fd/{fd}", process::id())
}

/// The directory that a caller of `mount` names: a path, or a descriptor of its own by /proc.
fn target_of(call: &Call) -> Option<OwnedFd> {
    let path = String::from_utf8(tracee::read_string(call.tid, call.args[1])?).ok()?;
    let own = ["/proc/self/fd/", "/proc/thread-self/fd/"]
        .iter()
        .find_map(|start| path.strip_prefix(start));
    match own {
        Some(fd) => {
            let path = format!("/proc/{}/fd/{fd}", call.tid);
            open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
        }
        None => look_up(call.tid, libc::AT_FDCWD, Path::new(&path), libc::O_DIRECTORY),
    }
}

/// `sdg-sim attach`: mounts a read-only copy of `tree`, as seen in the namespace `from`, at `target` in the namespace `to`.
pub fn attach(tree: &Path, (from, to): (&Path, &Path), target: &Path) -> io::Result<()> {
    let target = open(target, OFlag::O_PATH, Mode::empty())?;
    let to = File::open(to)?;
    setns(File::open(from)?, CloneFlags::CLONE_NEWNS)?;
    let copy = sys::clone_mount(&crate::namespace::c_path(tree)?)?;
    sys::make_read_only_and_private(&copy)?;
    setns(to, CloneFlags::CLONE_NEWNS)?;
    sys::attach_mount_at(&copy, &target)
}
