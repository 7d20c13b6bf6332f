//! A file of sysfs with other content: the first byte says which. Whatever a driver writes there, GPUs are found or named
//! in a warning, and what is placed on them is on them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sdg::inventory::{Detail, Inventory};
use sdg::placement::{Placement, Rules, place};
use sdg::request;
use sdg_sim::node;
use sdg_sim::preset::Preset;

use super::is_one_line;
use crate::scratch;

/// A file and what the simulated node has in it.
type Original = (PathBuf, Vec<u8>);

pub fn run(data: &[u8]) {
    let Some((first, content)) = data.split_first() else {
        return;
    };
    let sysroot = scratch::directory(make).join("node");
    static ORIGINALS: OnceLock<Vec<Original>> = OnceLock::new();
    let originals = ORIGINALS.get_or_init(|| files(&sysroot.join("sys")));
    let (path, original) = &originals[usize::from(*first) % originals.len()];
    scratch::write(path, content);
    look(&sysroot);
    scratch::write(path, original);
}

fn look(sysroot: &Path) {
    let inventory = match Inventory::read(sysroot, Detail::Full) {
        Ok(inventory) => inventory,
        Err(error) => return is_one_line(&error),
    };
    for warning in inventory.complaints() {
        is_one_line(&warning);
    }
    for asked in [
        [("sdg.memory", "20Gi"), ("sdg.compute", "250m")],
        [("sdg.memory", "2Mi"), ("sdg.computeLimit", "1m")],
    ] {
        let Ok(Some(request)) = request::parse(asked) else {
            continue;
        };
        match place(&request, &inventory, &[], &Rules::default()) {
            Ok(placement) => check(&placement, &inventory),
            Err(error) => is_one_line(&error),
        }
    }
}

fn check(placement: &Placement, inventory: &Inventory) {
    for grant in &placement.grants {
        let at = grant.position_in(&inventory.gpus).expect("a GPU that is there");
        let gpu = &inventory.gpus[at];
        assert!(
            grant.memory_limit_bytes <= gpu.memory_bytes,
            "{grant:?} of {gpu:?}"
        );
        assert!(gpu.grid.covers_every_xcc(&grant.cu_mask), "{grant:?} of {gpu:?}");
        assert!(
            grant.compute_units <= gpu.grid.active_units,
            "{grant:?} of {gpu:?}"
        );
    }
}

fn make(directory: &Path) {
    let preset = Preset::named("mi300x").expect("a preset");
    node::build(&preset, &directory.join("node")).expect("a simulated node");
}

/// Every file below a directory, in the order of their names, but those of caches: hundreds, of which nothing is read.
fn files(directory: &Path) -> Vec<Original> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory)
            .expect("a directory of the node")
            .flatten()
        {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != "caches" => left.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    found.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default()));
                }
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found
}
