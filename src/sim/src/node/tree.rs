//! A tree of files as a plan, and the one place that writes it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, chown};

use super::NodeError;

/// Mode of a sysfs file that all may read.
const READABLE: u32 = 0o444;

/// What is to be made, in order. Paths are relative to the tree's root; directories appear as needed.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: Vec<(String, Entry)>,
}

#[derive(Debug)]
enum Entry {
    Directory,
    File(Vec<u8>),
    Link(String),
    CharDevice { major: u32, minor: u32 },
}

impl Tree {
    /// An empty directory.
    pub fn directory(&mut self, path: impl Into<String>) {
        self.entries.push((path.into(), Entry::Directory));
    }

    /// A file with exactly these contents.
    pub fn file(&mut self, path: impl Into<String>, contents: impl Into<Vec<u8>>) {
        self.entries.push((path.into(), Entry::File(contents.into())));
    }

    /// A file with one value and the line end that sysfs puts after it.
    pub fn value(&mut self, path: impl Into<String>, value: impl ToString) {
        self.file(path, format!("{}\n", value.to_string()));
    }

    /// A symbolic link to another path of the tree, written relatively as sysfs does.
    pub fn link(&mut self, path: impl Into<String>, target: &str) {
        let path = path.into();
        let relative = relative(&path, target);
        self.entries.push((path, Entry::Link(relative)));
    }

    /// A character device.
    pub fn char_device(&mut self, path: impl Into<String>, major: u32, minor: u32) {
        self.entries
            .push((path.into(), Entry::CharDevice { major, minor }));
    }

    /// Makes everything under `root`. Returns the devices that this process may not make.
    pub fn write(&self, root: &Path, device_group: Option<Gid>) -> Result<Vec<PathBuf>, NodeError> {
        let mut refused = Vec::new();
        let mut made = PathBuf::new();
        for (path, entry) in &self.entries {
            let path = root.join(path);
            let directory = if matches!(entry, Entry::Directory) {
                Some(path.as_path())
            } else {
                path.parent()
            };
            if let Some(directory) = directory.filter(|directory| *directory != made) {
                fs::create_dir_all(directory).map_err(NodeError::io("create", directory))?;
                made = directory.to_owned();
            }
            let result = match entry {
                Entry::Directory => Ok(()),
                Entry::File(contents) => write_file(&path, contents),
                Entry::Link(target) => symlink(target, &path),
                Entry::CharDevice { major, minor } => {
                    match make_device(&path, (*major, *minor), device_group) {
                        Err(Errno::EPERM) => {
                            refused.push(path.clone());
                            Ok(())
                        }
                        other => other.map_err(io::Error::from),
                    }
                }
            };
            result.map_err(NodeError::io("create", &path))?;
        }
        Ok(refused)
    }
}

fn write_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(READABLE)
        .open(path)?;
    file.write_all(contents)
}

fn make_device(path: &Path, (major, minor): (u32, u32), group: Option<Gid>) -> nix::Result<()> {
    let mode = Mode::from_bits_truncate(0o660);
    mknod(
        path,
        SFlag::S_IFCHR,
        mode,
        makedev(u64::from(major), u64::from(minor)),
    )?;
    chown(path, None, group)?;
    // mknod's mode is subject to the umask.
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(|_| Errno::last())
}

/// The target as seen from the directory that `path` is in.
fn relative(path: &str, target: &str) -> String {
    let (from, to): (Vec<_>, Vec<_>) = (path.split('/').collect(), target.split('/').collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.len().saturating_sub(common + 1);
    let steps = std::iter::repeat_n("..", up).chain(to.iter().skip(common).copied());
    steps.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_their_directory() {
        assert_eq!(
            relative("sys/class/drm/card0", "sys/devices/pci/drm/card0"),
            "../../devices/pci/drm/card0"
        );
        assert_eq!(
            relative("sys/devices/pci/0/driver", "sys/bus/amdgpu"),
            "../../../bus/amdgpu"
        );
        assert_eq!(relative("a/b/device", "a"), "..");
    }

    #[test]
    fn a_tree_is_written_as_planned() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.directory("sys/empty");
        tree.value("sys/a/value", 7);
        tree.link("sys/b/link", "sys/a");
        assert_eq!(tree.write(dir.path(), None).unwrap(), Vec::<PathBuf>::new());
        assert!(dir.path().join("sys/empty").is_dir());
        assert_eq!(
            fs::read_to_string(dir.path().join("sys/b/link/value")).unwrap(),
            "7\n"
        );
    }

    #[test]
    fn a_failure_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.value("a", 1);
        tree.value("a/b", 1);
        let message = tree.write(dir.path(), None).unwrap_err().to_string();
        assert!(
            message.contains("create") && message.contains(dir.path().to_str().unwrap()),
            "{message}"
        );
    }
}
