//! The device files that containers get: `/dev/kfd` and render nodes, as they are on this machine.
//!
//! ```text
//! class/kfd/kfd/dev, stat of /dev/kfd and /dev/dri/renderD<M> → DeviceFiles
//! ```

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{Dir, FileError, below};

/// A character device as a container gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFile {
    /// Path in the container.
    pub path: PathBuf,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group: `render`, or `video` on older systems.
    pub gid: u32,
}

/// The device files of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFiles {
    /// `/dev/kfd`.
    pub kfd: DeviceFile,
    /// Render nodes in the order asked for.
    pub render: Vec<DeviceFile>,
}

/// Why a device file cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFilesError {
    /// The KFD's number cannot be read.
    #[error("no device number of the KFD: {0}")]
    Kfd(#[from] FileError),
    /// The KFD's number is no number.
    #[error("/sys/class/kfd/kfd/dev holds {0:?}, not MAJOR:MINOR")]
    KfdNumber(String),
    /// A device file cannot be looked at.
    #[error("stat {}: {source}", path.display())]
    Stat {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in the device file's place.
    #[error("{} is not the character device {major}:{minor}", path.display())]
    NotTheDevice {
        /// The file.
        path: PathBuf,
        /// Major number that the driver gave.
        major: u32,
        /// Minor number that the driver gave.
        minor: u32,
    },
}

impl DeviceFiles {
    /// Looks at the device files for these render nodes below a system root.
    pub fn read(sysroot: &Path, render_minors: &[u32]) -> Result<Self, DeviceFilesError> {
        let number = Dir::open(&below(sysroot, Path::new("/sys/class/kfd/kfd")))?.read("dev")?;
        let (major, minor) = parse_number(&number).ok_or(DeviceFilesError::KfdNumber(number))?;
        let kfd = device(sysroot, PathBuf::from("/dev/kfd"), (major, minor))?;
        let render = render_minors
            .iter()
            .map(|&minor| render_node(sysroot, minor))
            .collect::<Result<_, _>>()?;
        Ok(Self { kfd, render })
    }
}

/// Looks at one render node.
pub(super) fn render_node(sysroot: &Path, minor: u32) -> Result<DeviceFile, DeviceFilesError> {
    let path = PathBuf::from(format!("/dev/dri/renderD{minor}"));
    device(sysroot, path, (sdg_abi::drm::MAJOR, minor))
}

fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Owner and mode are those of the host's file. Below another system root there may be none at all (no right to mknod), or
/// an ordinary file in its place: then it is a file of root's that everybody may open, as udev makes `/dev/kfd`.
fn device(sysroot: &Path, path: PathBuf, number: (u32, u32)) -> Result<DeviceFile, DeviceFilesError> {
    let simulated = sysroot != Path::new("/");
    let (major, minor) = number;
    let host = below(sysroot, &path);
    let plain = |path| DeviceFile {
        path,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let metadata = match std::fs::metadata(&host) {
        Ok(metadata) => metadata,
        Err(error) if simulated && error.kind() == io::ErrorKind::NotFound && has_no_devices(&host) => {
            return Ok(plain(path));
        }
        Err(source) => return Err(DeviceFilesError::Stat { path: host, source }),
    };
    let device = metadata.rdev();
    let same = (libc::major(device), libc::minor(device)) == (major, minor);
    if metadata.file_type().is_char_device() && same {
        return Ok(DeviceFile {
            path,
            major,
            minor,
            mode: metadata.mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        });
    }
    if simulated && metadata.is_file() {
        return Ok(plain(path));
    }
    Err(DeviceFilesError::NotTheDevice {
        path: host,
        major,
        minor,
    })
}

/// Whether nothing is beside a device file that is missing.
fn has_no_devices(missing: &Path) -> bool {
    let entries = missing.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    entries.is_none_or(|mut entries| entries.next().is_none())
}
