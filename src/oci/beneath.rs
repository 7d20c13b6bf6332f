//! A path as a container's programs resolve it: absolute links and `..` end at the container's root.
//!
//! ```text
//! openat2(2) ─ there, or nothing there ─→ that
//!            └ anything else ───────────→ pathrs: old kernels, a tree that changes meanwhile
//! ```
//!
//! pathrs calls openat2 too. Where nothing is there, as for most of what is looked for, it goes on to find a text for
//! its error, by nine further system calls.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use pathrs::Root;
use pathrs::error::{Error, ErrorKind};

/// Whether a path's last name may be a link that is followed. Those before it always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// It is.
    Followed,
    /// The link itself is what is asked for.
    Kept,
}

/// A root directory.
pub fn root(path: &Path) -> io::Result<Root> {
    Root::open(path).map_err(plain)
}

/// A handle (O_PATH) of what is at a path; none where nothing is.
pub fn look(root: &Root, path: &Path, last: LastLink) -> io::Result<Option<File>> {
    let flags = match last {
        LastLink::Followed => OFlag::empty(),
        LastLink::Kept => OFlag::O_NOFOLLOW,
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root, path, how) {
        Ok(handle) => Ok(Some(handle.into())),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(_) => ask_pathrs(root, path, last),
    }
}

fn ask_pathrs(root: &Root, path: &Path, last: LastLink) -> io::Result<Option<File>> {
    let handle = match last {
        LastLink::Followed => root.resolve(path),
        LastLink::Kept => root.resolve_nofollow(path),
    };
    match handle.map_err(plain) {
        Ok(handle) => Ok(Some(OwnedFd::from(handle).into())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that nothing is there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

/// The kernel's error, where it is one: pathrs's own text names the call and leaves out why it failed.
pub fn plain(error: Error) -> io::Error {
    match error.kind() {
        ErrorKind::OsError(Some(number)) => io::Error::from_raw_os_error(number),
        _ => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both ways to an answer must give the same one.
    #[test]
    fn pathrs_and_the_kernel_agree() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::create_dir_all(image.join("usr/bin")).unwrap();
        std::fs::write(image.join("usr/bin/sh"), "image").unwrap();
        std::fs::write(dir.path().join("secret"), "host").unwrap();
        for (target, name) in [
            ("/usr/bin", "bin"),
            ("../../secret", "up"),
            ("/secret", "out"),
            ("loop", "loop"),
        ] {
            symlink(target, image.join(name)).unwrap();
        }
        let root = root(&image).unwrap();
        let inode = |found: io::Result<Option<File>>| {
            found
                .map(|found| found.map(|file| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap())))
                .map_err(|error| error.raw_os_error())
        };
        for path in [
            "/bin/sh",
            "bin/../../usr/bin/sh",
            "up",
            "out",
            "loop",
            "none",
            "bin/sh/below",
            "/bin",
        ] {
            for last in [LastLink::Followed, LastLink::Kept] {
                let found = inode(look(&root, Path::new(path), last));
                assert_eq!(
                    found,
                    inode(ask_pathrs(&root, Path::new(path), last)),
                    "{path} {last:?}"
                );
            }
        }
        let sh = look(&root, Path::new("/bin/sh"), LastLink::Followed).unwrap();
        assert_eq!(std::fs::read(image.join("usr/bin/sh")).unwrap(), b"image");
        assert!(sh.is_some());
        for leading_out in ["up", "out", "none"] {
            assert!(
                look(&root, Path::new(leading_out), LastLink::Followed)
                    .unwrap()
                    .is_none()
            );
        }
    }
}
