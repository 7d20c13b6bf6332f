//! Writes a preset's node: the parts of `/sys` and `/dev` that ROCm, DRM and container tools read.

mod blocks;
mod caches;
mod drm;
mod pci;
mod system;
mod topology;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group};

use self::tree::Tree;
use crate::preset::Preset;

/// Major numbers that the kernel gives to devices without one of their own, in the order it takes them
/// (Documentation/admin-guide/devices.txt: 234-254 first, then 384-511).
const DYNAMIC_MAJORS: [std::ops::RangeInclusive<u32>; 2] = [234..=254, 384..=511];

/// Groups that own GPU devices: today's, then that of older systems.
const DEVICE_GROUPS: [&str; 2] = ["render", "video"];

/// Why a node could not be written.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The directory holds something already.
    #[error("{0}: the directory is not empty; give one that is, or a new one")]
    NotEmpty(PathBuf),
    /// The directory has no place in the file system, such as `/`.
    #[error("{0}: not a path that a directory can be made at")]
    NoName(PathBuf),
    /// Every dynamic major number is taken.
    #[error("/proc/devices: no free major number for /dev/kfd; choose one with --set kfd_major=N")]
    NoMajor,
    /// A file operation failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl NodeError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Node {
    /// Major number of /dev/kfd.
    pub kfd_major: u32,
    /// Device nodes that could not be made because this process lacks the privilege.
    pub missing_devices: Vec<PathBuf>,
}

/// Writes the node to `dir`, which must be absent or empty. It appears there whole or not at all.
pub fn build(preset: &Preset, dir: &Path) -> Result<Node, NodeError> {
    match fs::read_dir(dir).map(Iterator::count) {
        Ok(1..) => return Err(NodeError::NotEmpty(dir.to_owned())),
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(NodeError::io("read", dir)(error)),
    }
    let kfd_major = match preset.kfd_major {
        0 => {
            free_major(&fs::read_to_string("/proc/devices").unwrap_or_default()).ok_or(NodeError::NoMajor)?
        }
        major => major,
    };
    let tree = plan(preset, kfd_major);
    let name = dir.file_name().ok_or_else(|| NodeError::NoName(dir.to_owned()))?;
    let mut partial = name.to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = dir.with_file_name(partial);
    let made = fill(&tree, &partial, dir);
    if made.is_err() {
        // What there is of it may be nothing; the error that led here is the one worth telling.
        let _ = fs::remove_dir_all(&partial);
    }
    let missing = made?;
    let missing_devices = missing.iter().filter_map(|path| path.strip_prefix(&partial).ok());
    Ok(Node {
        kfd_major,
        missing_devices: missing_devices.map(|path| dir.join(path)).collect(),
    })
}

fn fill(tree: &Tree, partial: &Path, dir: &Path) -> Result<Vec<PathBuf>, NodeError> {
    fs::create_dir_all(partial).map_err(NodeError::io("create", partial))?;
    let refused = tree.write(partial, device_group())?;
    fs::rename(partial, dir).map_err(NodeError::io("create", dir))?;
    Ok(refused)
}

fn plan(preset: &Preset, kfd_major: u32) -> Tree {
    let mut tree = Tree::default();
    system::plan(preset, &system::Cpus::read(), &mut tree);
    topology::plan(preset, &mut tree);
    pci::plan(preset, &mut tree);
    drm::plan(preset, kfd_major, &mut tree);
    tree
}

/// The group that GPU devices belong to on this machine, if there is one.
fn device_group() -> Option<Gid> {
    DEVICE_GROUPS
        .iter()
        .find_map(|name| Group::from_name(name).ok().flatten())
        .map(|group| group.gid)
}

/// A dynamic major number that no character device of `/proc/devices` has.
fn free_major(devices: &str) -> Option<u32> {
    let characters = devices.split("Block devices:").next().unwrap_or_default();
    let taken: Vec<u32> = characters
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    DYNAMIC_MAJORS
        .into_iter()
        .flat_map(Iterator::rev)
        .find(|major| !taken.contains(major))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kfd_takes_a_free_major_number() {
        let devices =
            "Character devices:\n  1 mem\n254 gpiochip\n253 nvme\n\nBlock devices:\n252 device-mapper\n";
        assert_eq!(free_major(devices), Some(252));
        let all: String = (234..=254).map(|major| format!("{major} x\n")).collect();
        assert_eq!(free_major(&all), Some(511));
    }
}
