//! Small files: read with few system calls (one open, read and close, relative to a directory that is opened once),
//! written whole, with errors that name the call and the path.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};

/// First read of a file: what sysfs gives at most, and more than most records have.
const FIRST_READ: usize = 4096;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: names the operation and the path.
    pub fn of<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Nothing there, as opposed to there and unreadable.
    pub fn is_absent(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV)
        )
    }

    /// What a user's rights do not change: a device cgroup, for one.
    pub fn is_not_permitted(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EPERM)
    }

    /// There, and not for this user.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EACCES | libc::EPERM))
    }
}

/// A directory, kept open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Where files are read to: clearing a buffer for each would cost more than reading it.
    buffer: RefCell<Box<[u8; FIRST_READ]>>,
}

impl Dir {
    /// Opens a directory.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(FileError::of("open", path))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            buffer: RefCell::new(Box::new([0; FIRST_READ])),
        })
    }

    /// Path of a file below the directory.
    pub fn path_of(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    /// A file's bytes.
    pub fn read_bytes(&self, relative: &str) -> Result<Vec<u8>, FileError> {
        let path = || self.path_of(relative);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = openat(self.fd.as_fd(), relative, flags, Mode::empty())
            .map_err(|errno| FileError::of("open", &path())(errno))?;
        let mut buffer = self.buffer.borrow_mut();
        let count = nix::unistd::read(&fd, buffer.as_mut_slice())
            .map_err(|errno| FileError::of("read", &path())(errno))?;
        let mut bytes = buffer.get(..count).unwrap_or_default().to_vec();
        if count == FIRST_READ {
            io::Read::read_to_end(&mut File::from(fd), &mut bytes)
                .map_err(|error| FileError::of("read", &path())(error))?;
        }
        Ok(bytes)
    }

    /// A file's text without the white space at its end.
    pub fn read(&self, relative: &str) -> Result<String, FileError> {
        let mut bytes = self.read_bytes(relative)?;
        bytes.truncate(bytes.trim_ascii_end().len());
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(text)
    }

    /// A file's text, none if it is not there.
    pub fn read_optional(&self, relative: &str) -> Result<Option<String>, FileError> {
        match self.read(relative) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What stat(2) says of a file, links followed.
    pub fn stat(&self, relative: &str) -> Result<FileStat, FileError> {
        fstatat(self.fd.as_fd(), relative, AtFlags::empty())
            .map_err(|errno| FileError::of("stat", &self.path_of(relative))(errno))
    }

    /// Where a symbolic link points, none if it is not there.
    pub fn link(&self, relative: &str) -> Result<Option<PathBuf>, FileError> {
        match readlinkat(self.fd.as_fd(), relative) {
            Ok(target) => Ok(Some(target.into())),
            Err(errno) => match FileError::of("read the link", &self.path_of(relative))(errno) {
                error if error.is_absent() => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// The file of a handle (O_PATH), for reading. By way of `/proc`, which is the host's wherever this program runs: pathrs
/// would not trust it and mount one of its own, whose end waits for every CPU (10 ms have been seen).
pub fn reopened(handle: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Writes a file of just these bytes, with exactly these permissions whatever the umask is.
pub fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    create_whole(path, mode, bytes).map(drop)
}

/// As [`write_whole`]; gives the file, open for writing.
pub fn create_whole(path: &Path, mode: u32, bytes: &[u8]) -> Result<File, FileError> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::of("create", path))?;
    file.write_all(bytes).map_err(FileError::of("write", path))?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(FileError::of("chmod", path))?;
    Ok(file)
}

/// Gives a file that is there these bytes, in place. A reader may see parts of both, and never an empty file.
pub fn overwrite(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = File::options()
        .write(true)
        .open(path)
        .map_err(FileError::of("open", path))?;
    file.write_all(bytes).map_err(FileError::of("write", path))?;
    file.set_len(bytes.len() as u64)
        .map_err(FileError::of("truncate", path))
}

/// Replaces a file as a whole by a rename: whoever reads it sees the old text or the new one. Owner and mode of a file
/// that was there stay; a new one gets this mode.
pub fn replace_whole(path: &Path, new_mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".sdg-")
        .tempfile_in(directory)
        .map_err(FileError::of("create a file in", directory))?;
    file.write_all(bytes)
        .map_err(FileError::of("write", file.path()))?;
    let mode = match std::fs::metadata(path) {
        Ok(old) => {
            std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))
                .map_err(FileError::of("chown", file.path()))?;
            old.mode() & 0o7777
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => new_mode,
        Err(error) => return Err(FileError::of("stat", path)(error)),
    };
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(FileError::of("chmod", file.path()))?;
    file.persist(path)
        .map_err(|error| FileError::of("rename to", path)(error.error))?;
    Ok(())
}

/// Makes a directory and those above it; the last gets exactly these permissions if it is new.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    match make_one_dir(path, mode) {
        Err(error) if error.is_absent() => {
            let parent = path.parent().ok_or(error)?;
            make_dir(parent, 0o755)?;
            make_one_dir(path, mode)
        }
        made => made,
    }
}

fn make_one_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    match std::fs::create_dir(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(FileError::of("chmod", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(FileError::of("mkdir", path)(error)),
    }
}

/// A path below a system root: `below("/root", "/sys/class")` is `/root/sys/class`.
pub fn below(sysroot: &Path, absolute: &Path) -> PathBuf {
    sysroot.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

/// An absolute path without `.` and `..`, as text alone: for links inside sysfs, where no `..` leaves a link's target.
pub fn normalized(path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => result.push(name),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_missing_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("long"), "a".repeat(10_000)).unwrap();
        let opened = Dir::open(dir.path()).unwrap();
        assert_eq!(opened.read("long").unwrap().len(), 10_000);
        assert_eq!(opened.read_optional("none").unwrap(), None);
        let error = opened.read("none").unwrap_err();
        assert!(error.is_absent());
        assert!(error.to_string().starts_with("open /"), "{error}");
    }

    #[test]
    fn links_are_resolved_as_text() {
        let link = Path::new("/sys/class/drm").join("../../devices/pci0000:00/0000:05:00.0");
        assert_eq!(
            normalized(&link),
            Path::new("/sys/devices/pci0000:00/0000:05:00.0")
        );
    }
}
