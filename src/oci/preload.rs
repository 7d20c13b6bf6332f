//! The image's own `/etc/ld.so.preload`, read so that nothing in the image can lead out of it.
//!
//! ```text
//! mounts of the spec → where the file comes from → resolved beneath that root → a regular file of a sane size
//! ```

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::edits::PRELOAD_TARGET;
use crate::files::reopened;
use crate::oci::beneath::{self, LastLink};
use crate::oci::config::Spec;

/// Largest file that is carried over; real ones have a line or two.
const LARGEST: u64 = 64 << 10;

/// Why the image's preload file cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum PreloadError {
    /// It cannot be read.
    #[error("read {PRELOAD_TARGET} below {}: {reason}", root.display())]
    Read {
        /// The root file system.
        root: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is something that no loader reads.
    #[error(
        "{PRELOAD_TARGET} below {} is {found} (a regular file of at most {LARGEST} bytes is kept; remove it from the image)",
        root.display()
    )]
    Kind {
        /// The root file system.
        root: PathBuf,
        /// What it is.
        found: String,
    },
}

/// Content of the container's own preload file; empty where it has none.
pub fn read(spec: &Spec, bundle: &Path) -> Result<Vec<u8>, PreloadError> {
    let Some((root, path)) = origin(spec, bundle) else {
        return Ok(Vec::new());
    };
    let failed = |reason: String| PreloadError::Read {
        root: root.clone(),
        reason,
    };
    let kind = |found: String| PreloadError::Kind {
        root: root.clone(),
        found,
    };
    let opened = beneath::root(&root).map_err(|error| failed(error.to_string()))?;
    // A handle first and no open: opening a device or a FIFO does something.
    let found = beneath::look(&opened, &path, LastLink::Followed);
    let Some(file) = found.map_err(|error| failed(error.to_string()))? else {
        return Ok(Vec::new());
    };
    let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(kind("no regular file".to_owned()));
    }
    if metadata.size() > LARGEST {
        return Err(kind(format!("{} bytes long", metadata.size())));
    }
    let readable = reopened(&file).map_err(|error| failed(error.to_string()))?;
    let mut content = Vec::new();
    readable
        .take(LARGEST)
        .read_to_end(&mut content)
        .map_err(|error| failed(error.to_string()))?;
    Ok(content)
}

/// Root directory and path below it: the root file system, or what the spec binds over `/etc` or the file itself.
fn origin(spec: &Spec, bundle: &Path) -> Option<(PathBuf, PathBuf)> {
    let target = Path::new(PRELOAD_TARGET);
    let covering = spec.list("/mounts").iter().rev().find_map(|mount| {
        let destination = Path::new(mount.get("destination")?.as_str()?);
        let below = target.strip_prefix(destination).ok()?;
        (destination != Path::new("/")).then_some((mount, below))
    });
    let Some((mount, below)) = covering else {
        let root = spec.root(bundle)?;
        return Some((root, target.strip_prefix("/").unwrap_or(target).to_owned()));
    };
    // Anything but a bind mount (a tmpfs over /etc) starts without the file.
    let source = Path::new(mount.get("source")?.as_str()?);
    if !source.is_absolute()
        || mount
            .get("type")
            .is_some_and(|kind| kind != "bind" && kind != "none")
    {
        return None;
    }
    if below == Path::new("") {
        return Some((source.parent()?.to_owned(), source.file_name()?.into()));
    }
    Some((source.to_owned(), below.to_owned()))
}
