//! Edits → a container that is there already: for engines that call hooks and let nobody edit the spec (CRI-O's
//! hooks.d). From createRuntime the device cgroup, from createContainer, which runs in the container's mount namespace
//! before it changes its root, device nodes and bind mounts.
//!
//! Sources are the host's. A path in the container is resolved beneath its root file system (pathrs: openat2 with
//! RESOLVE_IN_ROOT), and mounted by descriptor: a link in the image leads nowhere else.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat, makedev, stat, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use pathrs::flags::OpenFlags;
use pathrs::{InodeType, Root};

use crate::apply::in_force::v1_devices;
use crate::cgroups::v1_devices_file;
use crate::edits::ContainerEdits;
use crate::inventory::DeviceFile;
use crate::oci::beneath;

/// Everybody in the container may open its devices: supplementary groups cannot be given any more.
const NODE_MODE: u32 = 0o666;

/// What was not put in place.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The device cgroup.
    #[error("the container's device cgroup: {0}")]
    Cgroup(String),
    /// A file in the container.
    #[error("{operation} {} in the container: {reason}", path.display())]
    Place {
        /// What was tried.
        operation: &'static str,
        /// In the container.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Lets a container's processes open their devices.
pub fn allow_devices(edits: &ContainerEdits, pid: i32, cgroups: &Path) -> Result<(), LiveError> {
    let path = format!("/proc/{pid}/cgroup");
    let lines =
        std::fs::read_to_string(&path).map_err(|error| LiveError::Cgroup(format!("read {path}: {error}")))?;
    let cgroup = v1_devices(&lines).ok_or_else(|| {
        LiveError::Cgroup(
            "cgroup v2 takes device rules from the container's config alone, which a hook cannot change: use the \
             runtime handler sdg (RuntimeClass), which `sdg setup crio` has set up"
                .to_owned(),
        )
    })?;
    let file = v1_devices_file(cgroups, cgroup, "devices.allow");
    for device in &edits.devices {
        let rule = format!("c {}:{} rwm", device.major, device.minor);
        std::fs::write(&file, &rule)
            .map_err(|error| LiveError::Cgroup(format!("write {rule:?} to {}: {error}", file.display())))?;
    }
    Ok(())
}

/// Puts device nodes and bind mounts in place. Called in the container's mount namespace. crun has made a root file
/// system read-only by then that is to be so; runc has not.
pub fn put_in_place(edits: &ContainerEdits, rootfs: &Path) -> Result<(), LiveError> {
    let flags = statvfs(rootfs).map_err(failed("look at", rootfs))?.flags();
    if !flags.contains(FsFlags::ST_RDONLY) {
        return put(edits, rootfs);
    }
    let kept = mount_flags(flags);
    remount(rootfs, kept)?;
    let result = put(edits, rootfs);
    remount(rootfs, kept | MsFlags::MS_RDONLY).and(result)
}

/// The flags of a mount that a remount has to repeat.
fn mount_flags(flags: FsFlags) -> MsFlags {
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let set = pairs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    set.map(|(_, flag)| flag).collect()
}

fn remount(rootfs: &Path, flags: MsFlags) -> Result<(), LiveError> {
    let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    mount(None::<&str>, rootfs, None::<&str>, flags, None::<&str>).map_err(failed("remount", rootfs))
}

fn put(edits: &ContainerEdits, rootfs: &Path) -> Result<(), LiveError> {
    let root = Root::open(rootfs).map_err(failed("open", rootfs))?;
    // Modes are those that are written here.
    umask(Mode::empty());
    if let Some(sys) = &edits.sys {
        bind(&root, sys, Path::new("/sys"), MsFlags::MS_RDONLY)?;
    }
    for device in &edits.devices {
        make_node(&root, device)?;
    }
    for file in &edits.mounts {
        let access = if file.read_only {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        make_file(&root, &file.target)?;
        bind(&root, &file.source, &file.target, access)?;
    }
    Ok(())
}

fn failed<E: ToString>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> LiveError + use<E> {
    let path = path.to_owned();
    move |error| LiveError::Place {
        operation,
        path,
        reason: error.to_string(),
    }
}

/// A device node, unless it is there. In a user namespace no node can be made that opens: there the host's is bound.
fn make_node(root: &Root, device: &DeviceFile) -> Result<(), LiveError> {
    let path = &device.path;
    let number = makedev(u64::from(device.major), u64::from(device.minor));
    if let Ok(there) = root.resolve_nofollow(path) {
        let there = std::fs::File::from(OwnedFd::from(there)).metadata();
        let there = there.map_err(failed("stat", path))?;
        if there.file_type().is_char_device() && there.rdev() == number {
            return Ok(());
        }
        return Err(failed("make", path)("something else is there already"));
    }
    make_parents(root, path)?;
    let node = InodeType::CharacterDevice(std::fs::Permissions::from_mode(NODE_MODE), number);
    match root.create(path, &node) {
        Ok(()) => Ok(()),
        Err(error) if is_refused(&error) => {
            make_file(root, path)?;
            bind(root, path, path, MsFlags::empty())
        }
        Err(error) => Err(failed("make", path)(beneath::plain(error))),
    }
}

fn is_refused(error: &pathrs::error::Error) -> bool {
    matches!(error.kind(), pathrs::error::ErrorKind::OsError(Some(libc::EPERM)))
}

/// A file to mount on, unless something is there.
fn make_file(root: &Root, path: &Path) -> Result<(), LiveError> {
    if root.resolve(path).is_ok() {
        return Ok(());
    }
    make_parents(root, path)?;
    let permissions = std::fs::Permissions::from_mode(0o644);
    root.create_file(path, OpenFlags::O_WRONLY | OpenFlags::O_CREAT, &permissions)
        .map(drop)
        .map_err(|error| failed("make", path)(beneath::plain(error)))
}

fn make_parents(root: &Root, path: &Path) -> Result<(), LiveError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    root.mkdir_all(parent, &std::fs::Permissions::from_mode(0o755))
        .map(drop)
        .map_err(|error| failed("make", parent)(beneath::plain(error)))
}

/// Mounts one of the host's files or directories.
fn bind(root: &Root, source: &Path, target: &Path, access: MsFlags) -> Result<(), LiveError> {
    let on = descriptor(root, target)?;
    let flags = MsFlags::MS_BIND;
    mount(
        Some(source),
        &by_descriptor(&on),
        None::<&str>,
        flags,
        None::<&str>,
    )
    .map_err(failed("mount on", target))?;
    // The descriptor is of what is beneath the mount; resolved again the path leads to the mount itself. Or by now, in an
    // image that changes, to another one: then this one would stay writable.
    let mounted = descriptor(root, target)?;
    if !is_same(&mounted, source).map_err(failed("look at", target))? {
        return Err(failed("mount on", target)(
            "it was exchanged for something else meanwhile",
        ));
    }
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | access;
    // Devices are bound where none can be made: they have to stay devices.
    let is_device = std::fs::metadata(source).is_ok_and(|file| file.file_type().is_char_device());
    let flags = if is_device {
        flags
    } else {
        flags | MsFlags::MS_NODEV
    };
    mount(
        None::<&str>,
        &by_descriptor(&mounted),
        None::<&str>,
        flags,
        None::<&str>,
    )
    .map_err(failed("set the mount's flags on", target))
}

fn is_same(mounted: &OwnedFd, source: &Path) -> nix::Result<bool> {
    let (there, own) = (fstat(mounted)?, stat(source)?);
    Ok((there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
}

fn descriptor(root: &Root, path: &Path) -> Result<OwnedFd, LiveError> {
    let handle = root.resolve(path);
    let handle = handle.map_err(|error| failed("find", path)(beneath::plain(error)))?;
    Ok(OwnedFd::from(handle))
}

fn by_descriptor(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}
