//! The mount namespace of the command: the machine's own /sys and /dev with the node's in front.
//!
//! - /sys is an overlay of the node's `sys` over the machine's. What the machine has beside classes, buses and devices
//!   (file systems with the cgroups among them, kernel, firmware, modules), and the devices of kinds that the node has none
//!   of, are mounted over it as they were: they stay writable, and an overlay's files cannot be polled, as systemd-logind
//!   does with the console's. The KFD's directory is mounted from the node: its per-process figures come and go.
//! - /dev is an overlay over the machine's with the node's device nodes in its upper layer, on a tmpfs that exists in
//!   this namespace only. The machine's /dev is left alone, and nothing is left behind.
//!
//! The namespace is a slave of the machine's and shared below, as container engines want it, but for the node's
//! directory: crun takes what it binds into a user namespace from here, so that what is then mounted over a shared mount
//! there would appear here, and stay.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::sys;

/// Directories of /sys that the node has a part in.
const MERGED: [&str; 5] = ["bus", "class", "dev", "devices", "module"];
/// Directories of /sys whose own directories are one kind of devices each.
const KINDS: [&str; 2] = ["devices", "devices/virtual"];
/// Where the KFD is in sysfs.
pub const KFD: &str = "sys/devices/virtual/kfd";
/// Directory of the node, empty on the disk, where this namespace has its tmpfs.
const SCRATCH: &str = ".run";
/// Sources of the overlays in the list of mounts.
pub const SYS_SOURCE: &str = "sdg-sim-sys";
const DEV_SOURCE: &str = "sdg-sim-dev";
/// Below the node's directory, in this namespace: the /sys of containers, without what a runtime mounts itself.
pub const CONTAINER_SYS: &str = ".run/sys";

/// Why the namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct NamespaceError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> NamespaceError {
    let path = path.to_owned();
    move |source| NamespaceError {
        operation,
        path,
        source: source.into(),
    }
}

/// Moves this process into a new namespace that shows the node at `sysroot`.
pub fn enter(sysroot: &Path) -> Result<(), NamespaceError> {
    let root = Path::new("/");
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("new mount namespace for", root))?;
    for flags in [MsFlags::MS_SLAVE, MsFlags::MS_SHARED] {
        propagate(root, flags)?;
    }
    // A mount of its own, so that it can be private.
    let bind = MsFlags::MS_BIND;
    mount(Some(sysroot), sysroot, None::<&str>, bind, None::<&str>).map_err(failed("bind", sysroot))?;
    let scratch = sysroot.join(SCRATCH);
    fs::create_dir_all(&scratch).map_err(failed("create", &scratch))?;
    mount(
        Some("sdg-sim"),
        &scratch,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=700"),
    )
    .map_err(failed("mount a tmpfs at", &scratch))?;
    let for_containers = sysroot.join(CONTAINER_SYS);
    fs::create_dir(&for_containers).map_err(failed("create", &for_containers))?;
    let kept = mounts_to_keep(&sysroot.join("sys"))?;
    for target in [&for_containers, Path::new("/sys")] {
        let options = format!("lowerdir={}:/sys", escape(&sysroot.join("sys")));
        overlay((SYS_SOURCE, target), &options)?;
        put(
            &take(&sysroot.join(KFD))?,
            &target.join(KFD.trim_start_matches("sys/")),
        )?;
    }
    for (tree, path) in kept {
        put(&tree, &path)?;
    }
    show_devices(sysroot, &scratch)?;
    // At the end: what is attached to a shared mount becomes shared.
    propagate(sysroot, MsFlags::MS_PRIVATE)
}

/// Changes how mounts and unmounts below `path` propagate.
fn propagate(path: &Path, how: MsFlags) -> Result<(), NamespaceError> {
    let flags = how | MsFlags::MS_REC;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .map_err(failed("change the propagation of", path))
}

/// Copies of what stays of the machine's /sys beside the node's.
fn mounts_to_keep(node: &Path) -> Result<Vec<(OwnedFd, PathBuf)>, NamespaceError> {
    let sys = Path::new("/sys");
    let mut kept = Vec::new();
    for directory in directories(sys)? {
        if !MERGED.iter().any(|merged| directory == sys.join(merged)) {
            kept.push((take(&directory)?, directory));
        }
    }
    for kind in KINDS {
        for directory in directories(&sys.join(kind))? {
            if directory
                .strip_prefix(sys)
                .is_ok_and(|path| !node.join(path).exists())
            {
                kept.push((take(&directory)?, directory));
            }
        }
    }
    Ok(kept)
}

/// The directories in a directory.
fn directories(path: &Path) -> Result<Vec<PathBuf>, NamespaceError> {
    let entries = fs::read_dir(path).map_err(failed("read", path))?.flatten();
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.filter(is_directory).map(|entry| entry.path()).collect())
}

fn show_devices(sysroot: &Path, scratch: &Path) -> Result<(), NamespaceError> {
    let dev = Path::new("/dev");
    let mut kept = Vec::new();
    for path in mounts_below(dev)? {
        kept.push((take(&path)?, path));
    }
    let (upper, work) = (scratch.join("dev"), scratch.join("work"));
    for path in [&upper, &work] {
        fs::create_dir(path).map_err(failed("create", path))?;
    }
    let options = format!(
        "lowerdir=/dev,upperdir={},workdir={}",
        escape(&upper),
        escape(&work)
    );
    overlay((DEV_SOURCE, dev), &options)?;
    for (tree, path) in kept {
        put(&tree, &path)?;
    }
    copy_nodes(&sysroot.join("dev"), dev)
}

/// Makes the device nodes of `from` in `to`.
fn copy_nodes(from: &Path, to: &Path) -> Result<(), NamespaceError> {
    for entry in fs::read_dir(from).map_err(failed("read", from))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&source).map_err(failed("read", &source))?;
        if metadata.is_dir() {
            fs::create_dir_all(&target).map_err(failed("create", &target))?;
            copy_nodes(&source, &target)?;
        } else if metadata.file_type().is_char_device() {
            let _absent = fs::remove_file(&target);
            mknod(&target, SFlag::S_IFCHR, Mode::empty(), metadata.rdev())
                .map_err(failed("make the device", &target))?;
            std::os::unix::fs::chown(&target, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(failed("change the owner of", &target))?;
            fs::set_permissions(&target, metadata.permissions())
                .map_err(failed("change the mode of", &target))?;
        } else if metadata.is_symlink() && fs::symlink_metadata(&target).is_err() {
            let link = fs::read_link(&source).map_err(failed("read", &source))?;
            std::os::unix::fs::symlink(link, &target).map_err(failed("link", &target))?;
        }
    }
    Ok(())
}

/// The mount points directly below a directory, outermost first.
fn mounts_below(directory: &Path) -> Result<Vec<PathBuf>, NamespaceError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let mut points: Vec<PathBuf> = Vec::new();
    for point in text.lines().filter_map(|line| line.split(' ').nth(4)) {
        let point = Path::new(point);
        let is_below = point.starts_with(directory) && point != directory;
        if is_below && !points.iter().any(|outer| point.starts_with(outer)) {
            points.push(point.to_owned());
        }
    }
    Ok(points)
}

fn overlay((source, target): (&str, &Path), options: &str) -> Result<(), NamespaceError> {
    mount(
        Some(source),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options),
    )
    .map_err(failed("mount an overlay at", target))
}

/// A path as a value of overlay's options.
fn escape(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,")
}

fn take(path: &Path) -> Result<OwnedFd, NamespaceError> {
    c_path(path)
        .and_then(|path| sys::clone_mount(&path))
        .map_err(failed("copy the mount", path))
}

fn put(tree: &OwnedFd, path: &Path) -> Result<(), NamespaceError> {
    c_path(path)
        .and_then(|path| sys::attach_mount(tree, &path))
        .map_err(failed("mount at", path))
}

/// A path as the system calls take it.
pub fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
