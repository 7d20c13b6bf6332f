//! The layers that hold a slice, as its record lists them, and whether they are enough.

use crate::config::{Config, DEFAULT_PATH};
use crate::coverage::Gap;
use crate::ledger::record::SliceRecord;

/// Device nodes and the device cgroup: always.
pub const DEVICES: &str = "devices";
/// The kernel's own limit of device memory (cgroup v2's dmem controller).
pub const DMEM: &str = "dmem";
/// No raw system call around the shim (seccomp).
pub const GUARDED: &str = "guarded";
/// The shim.
pub const COOPERATIVE: &str = "cooperative";

/// What holds a slice beside the device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The shim gets into its container, as far as is known.
    pub covered: bool,
    /// The agent answers its guarded calls.
    pub guarded: bool,
    /// The kernel limits its memory.
    pub dmem: bool,
}

/// The layers of a new slice.
pub fn layers(holding: Holding) -> Vec<String> {
    let layers = [
        (DEVICES, true),
        (COOPERATIVE, holding.covered),
        (GUARDED, holding.guarded),
        (DMEM, holding.dmem),
    ];
    let there = layers.into_iter().filter(|(_, holds)| *holds);
    there.map(|(layer, _)| layer.to_owned()).collect()
}

/// A container that nothing would hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "the shim does not get into this container, and no other layer limits its memory here: {gap} (an image with glibc \
     and a dynamic program is held; `allow_uncovered_images = true` in {DEFAULT_PATH} lets this one start without a limit)"
)]
pub struct Uncovered {
    gap: Gap,
}

/// Refuses a container that the shim does not get into, unless another layer is in force or the administrator allows it.
/// Whole GPUs have nothing to be limited to.
pub fn check(coverage: Result<(), Gap>, record: &SliceRecord, config: &Config) -> Result<(), Uncovered> {
    let holds = |layer: &String| layer == DMEM || layer == GUARDED;
    let is_held = record.enforcement.iter().any(holds) || record.gpus.iter().all(|grant| grant.exclusive);
    match coverage {
        Err(gap) if !is_held && !config.allow_uncovered_images => Err(Uncovered { gap }),
        _ => Ok(()),
    }
}
