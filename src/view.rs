//! The sliced view: files that are bound over sysfs, so that tools report the slice's memory and not the card's.
//!
//! ```text
//! mem_banks/*/properties of the node → the same with the slice's size      → view/<gpu>/bank<n>
//! <card>/mem_info_vram_total, _used  → the slice's limit, what it uses now → view/<gpu>/vram_total, vram_used
//! <card>/mem_info_vis_vram_…         → as much of it as the card has in reach of the CPU → view/<gpu>/vis_vram_…
//! ```
//!
//! What is used is a file and no live figure: `sdg slice list`, `show` and `resize` rewrite it, as does a reap
//! or a release for the slices that may borrow; a placement is in a hurry and does not. Programs that ask the driver get the live
//! figure from the shim. simd_count and num_xcc stay as they are: libhsakmt sizes queue
//! memory by them and the kernel refuses what does not fit.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::files::{Dir, FileError, below, make_dir, overwrite, write_whole};
use crate::inventory::{Gpu, bank_size, with_bank_size};

/// Directory of the view in a slice's directory.
pub const DIRECTORY: &str = "view";
const TOTAL: &str = "vram_total";
const USED: &str = "vram_used";
const VISIBLE_TOTAL: &str = "vis_vram_total";
const VISIBLE_USED: &str = "vis_vram_used";
/// Width of a number of bytes: used is rewritten in one piece and must not change its length.
const USED_WIDTH: usize = 20;

/// A file of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewFile {
    /// Name below the view's directory.
    pub name: PathBuf,
    /// What it is bound over.
    pub target: PathBuf,
    /// Its content.
    pub content: String,
}

/// Plans the view of one GPU (number `position` in the slice) for a memory limit in bytes.
pub fn plan(sysroot: &Path, gpu: &Gpu, position: usize, limit: u64) -> Result<Vec<ViewFile>, FileError> {
    let directory = PathBuf::from(position.to_string());
    let node = PathBuf::from(format!("/sys/class/kfd/kfd/topology/nodes/{}", gpu.node));
    let mut files = Vec::new();
    let mut left = limit;
    let nodes = Dir::open(&below(sysroot, &node))?;
    // Cards without a large BAR have two banks: the slice fills the first, then the second.
    for bank in 0.. {
        let path = format!("mem_banks/{bank}/properties");
        let Some(text) = nodes.read_optional(&path)? else {
            break;
        };
        let size = bank_size(&text).unwrap_or(0).min(left);
        left -= size;
        files.push(ViewFile {
            name: directory.join(format!("bank{bank}")),
            target: real_node(&node).join(path),
            content: with_bank_size(&text, size),
        });
    }
    if let Some(device) = &gpu.device_dir {
        let file = |name: &str, content: String| ViewFile {
            name: directory.join(name),
            target: device.join(format!("mem_info_{name}")),
            content,
        };
        files.push(file(TOTAL, total_text(limit)));
        files.push(file(USED, used_text(0)));
        let card = Dir::open(&below(sysroot, device))?;
        let visible = card.read_optional(&format!("mem_info_{VISIBLE_TOTAL}"))?;
        if let Some(visible) = visible.and_then(|text| text.trim().parse::<u64>().ok()) {
            files.push(file(VISIBLE_TOTAL, total_text(visible.min(limit))));
            files.push(file(VISIBLE_USED, used_text(0)));
        }
    }
    Ok(files)
}

fn total_text(total: u64) -> String {
    format!("{total}\n")
}

/// `/sys/class/kfd/kfd` is a link in the kernel's sysfs; a bind mount is made on the directory itself, so that what the
/// runtime reports as mounted is what we asked for.
fn real_node(node: &Path) -> PathBuf {
    match node.strip_prefix("/sys/class/kfd/kfd") {
        Ok(rest) => Path::new("/sys/devices/virtual/kfd/kfd").join(rest),
        Err(_) => node.to_owned(),
    }
}

/// Writes planned files below a slice's directory.
pub fn write(slice_dir: &Path, files: &[ViewFile]) -> Result<(), FileError> {
    let view = slice_dir.join(DIRECTORY);
    let mut made = PathBuf::new();
    for file in files {
        let path = view.join(&file.name);
        // A GPU's files come one after the other.
        if let Some(parent) = path.parent().filter(|parent| *parent != made) {
            make_dir(parent, 0o711)?;
            made = parent.to_owned();
        }
        write_whole(&path, 0o444, file.content.as_bytes())?;
    }
    Ok(())
}

/// Changes planned files that are there: a slice of an earlier version has fewer. They are bound over others by inode, and
/// programs may be reading them.
pub fn rewrite(slice_dir: &Path, files: &[ViewFile]) -> Result<(), FileError> {
    let view = slice_dir.join(DIRECTORY);
    for file in files {
        let path = view.join(&file.name);
        if path.try_exists().map_err(FileError::of("stat", &path))? {
            overwrite(&path, file.content.as_bytes())?;
        }
    }
    Ok(())
}

/// Puts what a slice uses of one GPU into its view; where the view has no such file, nothing. Where the CPU reaches less
/// than the slice, how much of that is used is not known: it is not more than there is.
pub fn set_used(slice_dir: &Path, position: usize, used: u64) -> Result<(), FileError> {
    let view = slice_dir.join(DIRECTORY).join(position.to_string());
    write_used(&view.join(USED), used)?;
    let visible = std::fs::read_to_string(view.join(VISIBLE_TOTAL)).ok();
    let visible = visible.and_then(|text| text.trim().parse().ok());
    write_used(&view.join(VISIBLE_USED), used.min(visible.unwrap_or(u64::MAX)))
}

fn write_used(path: &Path, used: u64) -> Result<(), FileError> {
    match File::options().write(true).open(path) {
        Ok(file) => file
            .write_all_at(used_text(used).as_bytes(), 0)
            .map_err(FileError::of("write", path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::of("open", path)(error)),
    }
}

fn used_text(used: u64) -> String {
    format!("{used:<USED_WIDTH$}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_is_rewritten_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = ViewFile {
            name: "0/vram_used".into(),
            target: "/sys/x".into(),
            content: used_text(u64::MAX),
        };
        write(dir.path(), std::slice::from_ref(&file)).unwrap();
        set_used(dir.path(), 0, 7).unwrap();
        let text = std::fs::read_to_string(dir.path().join("view/0/vram_used")).unwrap();
        assert_eq!(text.trim(), "7");
        assert_eq!(text.len(), file.content.len());
        set_used(dir.path(), 1, 7).unwrap();
    }

    #[test]
    fn no_more_is_used_of_what_the_cpu_reaches_than_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: String| ViewFile {
            name: Path::new("0").join(name),
            target: "/sys/x".into(),
            content,
        };
        let files = [
            file(USED, used_text(0)),
            file(VISIBLE_TOTAL, total_text(256)),
            file(VISIBLE_USED, used_text(0)),
        ];
        write(dir.path(), &files).unwrap();
        let said = |name: &str| {
            let text = std::fs::read_to_string(dir.path().join("view/0").join(name)).unwrap();
            text.trim().parse::<u64>().unwrap()
        };
        for used in [7, 1000] {
            set_used(dir.path(), 0, used).unwrap();
            assert_eq!((said(USED), said(VISIBLE_USED)), (used, used.min(256)));
        }
    }

    #[test]
    fn a_resize_leaves_out_what_an_earlier_version_did_not_make() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, total| ViewFile {
            name: Path::new("0").join(name),
            target: "/sys/x".into(),
            content: total_text(total),
        };
        write(dir.path(), &[file(TOTAL, 7)]).unwrap();
        rewrite(dir.path(), &[file(TOTAL, 8), file(VISIBLE_TOTAL, 8)]).unwrap();
        let view = dir.path().join("view/0");
        assert_eq!(std::fs::read_to_string(view.join(TOTAL)).unwrap(), "8\n");
        assert!(!view.join(VISIBLE_TOTAL).exists());
    }
}
