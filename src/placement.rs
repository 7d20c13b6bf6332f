//! (request, inventory, what is taken) → placement, or the reason why not, which says what would fit. Pure.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use crate::compute::grid::CuRect;
use crate::compute::mask::CuMask;
use crate::inventory::Gpu;

mod error;
pub mod lending;
mod place;
mod refusal;
mod regrant;
mod several;
mod small;
mod state;
mod taken;

pub use error::PlacementError;
pub use place::place;
pub use regrant::{RegrantError, regrant};
pub use small::TooSmall;
pub use taken::{Rules, Taken};

/// What one slice gets of one GPU. Part of the record, and what later placements read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuGrant {
    /// Index of the GPU in the inventory at placement.
    pub index: u32,
    /// UUID of the GPU: what later placements match by.
    pub uuid: String,
    /// The KFD's gpu_id.
    pub gpu_id: u32,
    /// Render minor.
    pub render_minor: u32,
    /// Memory guaranteed, in bytes.
    pub memory_bytes: u64,
    /// Memory never exceeded, in bytes.
    pub memory_limit_bytes: u64,
    /// The whole GPU, alone on it.
    pub exclusive: bool,
    /// The guaranteed rectangle; none for best effort and for whole GPUs.
    pub rect: Option<CuRect>,
    /// Compute units asked for (share of the GPU's active units, rounded); for best effort 0.
    pub requested_units: u32,
    /// Compute units guaranteed: bits of the guaranteed mask.
    pub compute_units: u32,
    /// Ceiling in compute units.
    pub compute_limit_units: u32,
    /// What `cu_mask` delivers by the model.
    pub effective_units: u32,
    /// The mask in force; empty: no mask (a whole GPU).
    pub cu_mask: CuMask,
}

impl GpuGrant {
    /// Where its GPU is in a list in the order of the indices: mostly where the index says.
    pub fn position_in<G: Borrow<Gpu>>(&self, gpus: &[G]) -> Option<usize> {
        let is_it = |gpu: &G| gpu.borrow().uuid == self.uuid;
        let by_index = gpus.binary_search_by_key(&self.index, |gpu| gpu.borrow().index);
        match by_index {
            Ok(at) if gpus.get(at).is_some_and(is_it) => Some(at),
            _ => gpus.iter().position(is_it),
        }
    }
}

/// Where a slice goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// A grant for each GPU, by index.
    pub grants: Vec<GpuGrant>,
}
