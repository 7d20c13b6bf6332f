//! Slices so small that a program finds no room for its data. They are given, with a warning. Pure.

use std::fmt;

use super::GpuGrant;
use crate::inventory::{Inventory, Needs};
use crate::units::Bytes;

/// A slice below the least useful one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The key that says the limit.
    key: &'static str,
    limit: u64,
    index: u32,
    needs: Needs,
}

impl TooSmall {
    /// The first grant that is too small.
    pub fn first(grants: &[GpuGrant], inventory: &Inventory) -> Option<Self> {
        grants.iter().find_map(|grant| {
            let gpu = inventory.gpus.get(grant.position_in(&inventory.gpus)?)?;
            let is_small = !grant.exclusive && grant.memory_limit_bytes < gpu.needs.least_useful();
            is_small.then_some(Self {
                key: if grant.memory_bytes == grant.memory_limit_bytes {
                    "sdg.memory"
                } else {
                    "sdg.memoryLimit"
                },
                limit: grant.memory_limit_bytes,
                index: grant.index,
                needs: gpu.needs,
            })
        })
    }
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} on GPU {} is less than a HIP program may take before its data, {} ({}): ask for more",
            self.key,
            Bytes(self.limit),
            self.index,
            Bytes(self.needs.least_useful()),
            self.needs.parts()
        )
    }
}
