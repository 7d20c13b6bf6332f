//! Annotations or labels → [`SliceRequest`]. Pure.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::inventory::GpuSelector;

mod error;
mod keys;
mod least;
mod parse;
mod pod;
pub mod quantity;

pub use error::RequestError;
pub use keys::{KEYS, Key, LONG_PREFIX, SHORT_PREFIX};
pub use least::{LEAST_MEMORY, likely_memory};
pub use parse::parse;
pub use pod::PodRequest;

/// Most GPUs of one slice.
pub const MAX_COUNT: u32 = 64;

/// A part of a GPU's compute in thousandths of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u32);

impl Millis {
    /// A whole GPU.
    pub const ONE: Self = Self(1000);
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

/// What a container may have of a GPU's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRequest {
    /// Set aside at placement.
    pub guarantee: u64,
    /// Never exceeded; at least `guarantee`.
    pub limit: u64,
}

/// What a container may have of a GPU's compute units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComputeRequest {
    /// Every unit on which nobody has a guarantee.
    BestEffort,
    /// Units of its own.
    Guaranteed {
        /// Nobody else's queue runs there.
        guarantee: Millis,
        /// Ceiling; at least `guarantee`.
        limit: Millis,
    },
}

/// Part of a GPU, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// Whole GPUs, alone on them.
    Whole,
    /// The same slice on each GPU.
    Part {
        /// Memory.
        memory: MemoryRequest,
        /// Compute units.
        compute: ComputeRequest,
    },
}

/// Which of the GPUs that fit is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementPolicy {
    /// The fullest.
    #[default]
    Pack,
    /// The emptiest.
    Spread,
}

/// How a slice is enforced, from the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// By the shim, in the container's programs.
    #[default]
    Cooperative,
    /// By the agent as well, before the calls that count.
    Guarded,
}

/// What a container asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRequest {
    /// Part or whole.
    pub share: Share,
    /// Number of GPUs, 1 … 64.
    pub count: u32,
    /// Only on this GPU.
    pub gpu: Option<GpuSelector>,
    /// On the GPU of this group, or on GPUs linked to it.
    pub group: Option<String>,
    /// Pack or spread.
    pub placement: PlacementPolicy,
    /// At least this; the configuration may ask for more.
    #[serde(default)]
    pub enforcement: Enforcement,
}
