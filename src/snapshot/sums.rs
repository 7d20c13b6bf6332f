//! What slices have of a GPU, summed. Pure.

use super::{SliceNow, Snapshot};
use crate::compute::grid::CuGrid;
use crate::compute::mask::CuMask;
use crate::inventory::Gpu;
use crate::ledger::pages::InForce;
use crate::placement::GpuGrant;

/// A slice's part of one GPU, now.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The slice.
    pub slice: &'a SliceNow,
    /// What it was granted.
    pub grant: &'a GpuGrant,
    /// What is in force; none where its page was not read.
    pub in_force: Option<&'a InForce>,
    /// Bytes in use.
    pub used: u64,
}

impl Part<'_> {
    /// Bytes that the slice can have now.
    pub fn available(&self) -> u64 {
        self.in_force
            .map_or(self.grant.memory_limit_bytes, |in_force| in_force.memory_limit)
    }

    /// Bytes that are lent to it, in use or not.
    pub fn lent(&self) -> u64 {
        self.available().saturating_sub(self.grant.memory_bytes)
    }

    /// Bytes in use beyond the guarantee.
    pub fn lent_used(&self) -> u64 {
        self.used.saturating_sub(self.grant.memory_bytes)
    }

    /// The units on which the slice has a guarantee.
    pub fn guaranteed_units(&self, grid: &CuGrid) -> CuMask {
        let everything = self.grant.exclusive || self.grant.compute_units >= grid.active_units;
        match &self.grant.rect {
            _ if everything => grid.full_mask(),
            Some(rect) => grid.rect_mask(rect),
            None => CuMask::empty(grid.active_units),
        }
    }

    /// The units that its queues run on now.
    pub fn units(&self, grid: &CuGrid) -> CuMask {
        let mask = self
            .in_force
            .map_or(&self.grant.cu_mask, |in_force| &in_force.mask);
        // No mask: a whole GPU.
        if mask.is_empty() {
            return grid.full_mask();
        }
        mask.intersection(&grid.full_mask())
    }
}

impl SliceNow {
    /// Its parts, in the order of its grants.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let grants = self.record.gpus.iter().enumerate();
        grants.map(|(position, grant)| Part {
            slice: self,
            grant,
            in_force: self.live.in_force.get(position),
            used: self.live.usage.used.get(position).copied().unwrap_or(0),
        })
    }
}

/// Memory of a GPU, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySums {
    /// What slices may have together.
    pub capacity: u64,
    /// Guaranteed to slices.
    pub guaranteed: u64,
    /// Lent beyond guarantees, in use or not.
    pub lent: u64,
    /// In use beyond guarantees.
    pub lent_used: u64,
    /// In use by slices.
    pub used: u64,
    /// What a new guarantee could have.
    pub free: u64,
}

/// Compute units of a GPU. A unit counts once: guaranteed, else lent, else idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitSums {
    /// Units that work.
    pub total: u32,
    /// Units on which a slice has a guarantee.
    pub guaranteed: u32,
    /// Units without a guarantee on which slices run.
    pub lent: u32,
    /// Units on which no slice runs.
    pub idle: u32,
}

fn sum<'a>(parts: &[Part<'a>], of: impl Fn(&Part<'a>) -> u64) -> u64 {
    parts.iter().map(of).fold(0, u64::saturating_add)
}

impl Snapshot {
    /// The slices' parts of a GPU, oldest first.
    pub fn parts_of(&self, gpu: &Gpu) -> Vec<Part<'_>> {
        let parts = self.slices.iter().flat_map(SliceNow::parts);
        parts.filter(|part| part.grant.uuid == gpu.uuid).collect()
    }

    /// Sums of a GPU's memory.
    pub fn memory_of(&self, gpu: &Gpu) -> MemorySums {
        let parts = self.parts_of(gpu);
        let whole = parts.iter().any(|part| part.grant.exclusive);
        // Whole GPUs have what is kept back from others as well.
        let kept_back = if whole { 0 } else { self.reserved_bytes };
        let capacity = gpu.memory_bytes.saturating_sub(kept_back);
        let held = sum(&parts, |part| part.grant.memory_bytes.max(part.used));
        MemorySums {
            capacity,
            guaranteed: sum(&parts, |part| part.grant.memory_bytes),
            lent: sum(&parts, Part::lent),
            lent_used: sum(&parts, Part::lent_used),
            used: sum(&parts, |part| part.used),
            free: capacity.saturating_sub(held),
        }
    }

    /// Sums of a GPU's compute units.
    pub fn units_of(&self, gpu: &Gpu) -> UnitSums {
        let none = CuMask::empty(gpu.grid.active_units);
        let (mut guaranteed, mut running) = (none.clone(), none);
        for part in self.parts_of(gpu) {
            guaranteed = guaranteed.union(&part.guaranteed_units(&gpu.grid));
            running = running.union(&part.units(&gpu.grid));
        }
        let lent = running.without(&guaranteed).count();
        UnitSums {
            total: gpu.grid.active_units,
            guaranteed: guaranteed.count(),
            lent,
            idle: gpu.grid.active_units.saturating_sub(guaranteed.count() + lent),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::snapshot::fixtures::{GI, node_with};

    #[test]
    fn memory_is_guaranteed_lent_and_free() {
        // Guarantees of 20 and 10 GiB; the second may have 30, is lent 20 and uses 14.
        let node = node_with(&[(20, 20, 5), (10, 30, 14)]);
        let gpu = &node.inventory.gpus[0];
        let sums = node.memory_of(gpu);
        assert_eq!(sums.capacity, gpu.memory_bytes - node.reserved_bytes);
        assert_eq!((sums.guaranteed, sums.lent), (30 * GI, 20 * GI));
        assert_eq!((sums.used, sums.lent_used), (19 * GI, 4 * GI));
        assert_eq!(sums.free, sums.capacity - 34 * GI);
    }

    #[test]
    fn a_unit_counts_once() {
        let mut node = node_with(&[(20, 20, 0), (10, 10, 0)]);
        // The second runs on the first one's units too, and on a unit of nobody's.
        let first = node.slices[0].live.in_force[0].mask.clone();
        let grid = node.inventory.gpus[0].grid;
        let mut wide = first.union(&node.slices[1].live.in_force[0].mask);
        wide.set(grid.active_units - 1);
        node.slices[1].live.in_force[0].mask = wide;
        let sums = node.units_of(&node.inventory.gpus[0]);
        assert_eq!((sums.total, sums.guaranteed, sums.lent), (304, 144, 1));
        assert_eq!(sums.idle, 304 - 145);
    }
}
