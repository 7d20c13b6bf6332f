//! A container's files as its programs will see them: its root file system with the spec's mounts over it, before
//! the runtime has made any of these.
//!
//! ```text
//! path → step by step: which mount is it in → resolved beneath that mount's source → a link: its target instead
//! ```
//!
//! The image decides what links say and nothing else: every step is resolved beneath a root that the host chose.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::readlinkat;
use pathrs::Root;
use serde_json::Value;

use crate::files::{normalized, reopened};
use crate::oci::beneath::{self, LastLink};
use crate::oci::config::Spec;

/// Links that a path may go through. Source: Linux, `MAXSYMLINKS`.
const MOST_LINKS: u32 = 40;

/// The files of a container.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    mounts: Vec<Mount>,
}

#[derive(Debug)]
struct Mount {
    target: PathBuf,
    /// Host's directory or file; none where the container starts with nothing (a tmpfs) or with the kernel's own files.
    source: Option<PathBuf>,
}

/// What a path leads to.
#[derive(Debug)]
pub struct Found {
    /// The path without links.
    pub path: PathBuf,
    /// What is there.
    pub metadata: Metadata,
    /// A handle only: to open a device or a FIFO does something.
    handle: File,
}

impl Found {
    /// Opens it for reading; a regular file only.
    pub fn open(&self) -> io::Result<File> {
        if !self.metadata.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        reopened(&self.handle)
    }
}

impl Tree {
    /// The files of a container whose runtime has not begun.
    pub fn of(spec: &Spec, bundle: &Path) -> io::Result<Self> {
        let mut tree = Self::mounted(beneath::root(&spec.root(bundle).unwrap_or_default())?);
        for mount in spec.list("/mounts") {
            tree.add(mount);
        }
        Ok(tree)
    }

    /// The files below a directory on which everything is mounted already.
    pub fn mounted(root: Root) -> Self {
        Self {
            root,
            mounts: Vec::new(),
        }
    }

    fn add(&mut self, mount: &Value) {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).map(Path::new);
        let Some(destination) = text("destination") else {
            return;
        };
        let is_bind = mount
            .get("type")
            .is_none_or(|kind| kind == "bind" || kind == "none");
        let source = text("source").filter(|source| is_bind && source.is_absolute());
        // The target of a bind mount may go through links of the image; nobody has links on the way to /proc.
        let resolved = source.and_then(|_| self.walk(destination).ok());
        let target = resolved.map_or_else(|| normalized(destination), |(path, _)| path);
        let source = source.map(Path::to_owned);
        self.mounts.push(Mount { target, source });
    }

    /// What an absolute path leads to, links followed.
    pub fn find(&self, path: &Path) -> io::Result<Found> {
        let (path, handle) = self.walk(path)?;
        let handle = handle.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        Ok(Found {
            path,
            metadata: handle.metadata()?,
            handle,
        })
    }

    /// The path without links, and what is there. Below what is absent there are no links.
    fn walk(&self, path: &Path) -> io::Result<(PathBuf, Option<File>)> {
        let mut at = PathBuf::from("/");
        let mut rest = names(path);
        let mut links = 0;
        loop {
            let Some(name) = rest.pop_front() else {
                let handle = self.look(&at)?;
                return Ok((at, handle));
            };
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            let handle = self.look(&at)?;
            let Some(target) = link(handle.as_ref())? else {
                if rest.is_empty() {
                    return Ok((at, handle));
                }
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            at = at
                .parent()
                .filter(|_| target.is_relative())
                .unwrap_or(Path::new("/"))
                .to_owned();
            let mut names = names(&target);
            names.append(&mut rest);
            rest = names;
        }
    }

    /// A handle of what is at a path that has no links but perhaps its last name.
    fn look(&self, path: &Path) -> io::Result<Option<File>> {
        let covering = self
            .mounts
            .iter()
            .rev()
            .find(|mount| path.starts_with(&mount.target));
        match covering {
            None => beneath::look(&self.root, path, LastLink::Kept),
            Some(Mount { source: None, .. }) => Ok(None),
            Some(Mount {
                target,
                source: Some(source),
            }) => match path.strip_prefix(target) {
                Ok(below) if below != Path::new("") => look_in_source(source, below),
                // The source is the host's and so are links in it.
                _ => there(
                    OpenOptions::new()
                        .read(true)
                        .custom_flags(libc::O_PATH)
                        .open(source),
                ),
            },
        }
    }
}

fn look_in_source(source: &Path, below: &Path) -> io::Result<Option<File>> {
    match there(beneath::root(source))? {
        Some(root) => beneath::look(&root, below, LastLink::Kept),
        None => Ok(None),
    }
}

/// Where a link points; none where there is no link.
fn link(handle: Option<&File>) -> io::Result<Option<PathBuf>> {
    match handle {
        Some(handle) if handle.metadata()?.is_symlink() => Ok(Some(readlinkat(handle, "")?.into())),
        _ => Ok(None),
    }
}

/// None where nothing was there.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if beneath::is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    /// A host's directory with an image in `root`.
    fn ground() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in ["root/usr/bin", "root/usr/lib", "volume/sub"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (path, text) in [
            ("root/usr/bin/sh", "image"),
            ("volume/sh", "volume"),
            ("secret", "host"),
        ] {
            std::fs::write(dir.path().join(path), text).unwrap();
        }
        symlink("usr/bin", dir.path().join("root/bin")).unwrap();
        dir
    }

    fn tree(dir: &Path, mounts: &[(&str, &str)]) -> Tree {
        let mounts: Vec<Value> = mounts
            .iter()
            .map(|(destination, source)| json!({"destination": destination, "type": "bind", "source": dir.join(source)}))
            .collect();
        let spec = json!({"root": {"path": "root"}, "mounts": mounts}).to_string();
        Tree::of(&Spec::parse(spec.as_bytes()).unwrap(), dir).unwrap()
    }

    fn text(tree: &Tree, path: &str) -> io::Result<String> {
        let mut text = String::new();
        io::Read::read_to_string(&mut tree.find(Path::new(path))?.open()?, &mut text)?;
        Ok(text)
    }

    #[test]
    fn links_of_an_image_stay_in_it() {
        let dir = ground();
        let image = dir.path().join("root");
        symlink("../../../../secret", image.join("up")).unwrap();
        symlink(dir.path().join("secret"), image.join("out")).unwrap();
        symlink("loop", image.join("loop")).unwrap();
        let tree = tree(dir.path(), &[]);
        assert_eq!(text(&tree, "/bin/../bin/./sh").unwrap(), "image");
        assert_eq!(
            tree.find(Path::new("/bin/sh")).unwrap().path,
            Path::new("/usr/bin/sh")
        );
        for path in ["/up", "/out", "/usr/bin/sh/below", "/none"] {
            assert_eq!(
                tree.find(Path::new(path)).unwrap_err().kind(),
                io::ErrorKind::NotFound,
                "{path}"
            );
        }
        let error = tree.find(Path::new("/loop")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn the_last_mount_on_a_path_is_what_shows() {
        let dir = ground();
        let volume = [("/usr/bin", "volume")];
        assert_eq!(text(&tree(dir.path(), &volume), "/bin/sh").unwrap(), "volume");
        // Through the image's link.
        assert_eq!(
            text(&tree(dir.path(), &[("/bin", "volume")]), "/usr/bin/sh").unwrap(),
            "volume"
        );
        let file = [("/usr/bin", "volume"), ("/bin/sh", "secret")];
        assert_eq!(text(&tree(dir.path(), &file), "/bin/sh").unwrap(), "host");
        let below = [("/bin/sh", "secret"), ("/usr", "volume")];
        assert!(text(&tree(dir.path(), &below), "/bin/sh").is_err(), "covered");
    }

    #[test]
    fn a_link_in_a_volume_leads_into_the_container() {
        let dir = ground();
        symlink("/usr/bin/sh", dir.path().join("volume/absolute")).unwrap();
        symlink("../../secret", dir.path().join("volume/sub/up")).unwrap();
        let tree = tree(dir.path(), &[("/data", "volume")]);
        assert_eq!(text(&tree, "/data/absolute").unwrap(), "image");
        assert!(text(&tree, "/data/sub/up").is_err());
    }

    #[test]
    fn an_empty_mount_has_nothing_and_what_is_no_file_is_not_opened() {
        let dir = ground();
        let spec = json!({"root": {"path": "root"}, "mounts": [{"destination": "/usr", "type": "tmpfs", "source": "tmpfs"}]});
        let tmpfs = Tree::of(&Spec::parse(spec.to_string().as_bytes()).unwrap(), dir.path()).unwrap();
        assert!(tmpfs.find(Path::new("/bin/sh")).is_err());
        nix::unistd::mkfifo(&dir.path().join("root/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fifo = tree(dir.path(), &[]).find(Path::new("/fifo")).unwrap();
        assert!(fifo.open().is_err());
    }
}
