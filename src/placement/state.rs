//! What is left of each GPU.

use super::lending::MemoryHolding;
use super::{Rules, Taken};
use crate::compute::cells::{CellRect, Cells};
use crate::compute::fit::{Plan, Step};
use crate::inventory::{Gpu, Inventory};
use crate::request::{ComputeRequest, Millis, Share};

/// A GPU with what slices hold of it.
#[derive(Clone, Debug)]
pub struct GpuState<'a> {
    /// The GPU.
    pub gpu: &'a Gpu,
    /// Bytes that slices may have together.
    pub capacity: u64,
    /// Bytes held: guarantees, and lent memory in use.
    pub held: u64,
    /// Bytes of `held` that are lent.
    pub lent: u64,
    /// Thousandths guaranteed.
    pub millis: u32,
    /// Cells without a guarantee.
    pub free: Cells,
    /// Someone has every unit, those of the ragged tail too.
    pub tail_taken: bool,
    /// A slice without a guarantee lives here.
    pub best_effort: bool,
    /// A slice has all of it.
    pub exclusive: bool,
    /// Positions in the list of taken slices, with the bytes each was lent and uses.
    pub holders: Vec<(usize, u64)>,
}

/// What a GPU lacks for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is, or has to be, someone's alone.
    Alone,
    /// Memory.
    Memory,
    /// Compute units.
    Compute,
}

impl<'a> GpuState<'a> {
    fn empty(gpu: &'a Gpu, rules: &Rules) -> Self {
        Self {
            gpu,
            capacity: gpu.memory_bytes.saturating_sub(rules.reserved_bytes),
            held: 0,
            lent: 0,
            millis: 0,
            free: Cells::all(&gpu.grid),
            tail_taken: false,
            best_effort: false,
            exclusive: false,
            holders: Vec::new(),
        }
    }

    /// Bytes that a new guarantee can have.
    pub fn free_memory(&self) -> u64 {
        if self.exclusive {
            0
        } else {
            self.capacity.saturating_sub(self.held)
        }
    }

    /// How full the GPU is, by memory and compute, in thousandths of either.
    pub fn fullness(&self) -> u64 {
        let memory = u128::from(self.held) * 1000 / u128::from(self.capacity.max(1));
        u64::try_from(memory)
            .unwrap_or(u64::MAX)
            .saturating_add(u64::from(self.millis))
    }

    /// How well a share can be met here, or what it lacks.
    pub fn fit(&self, share: &Share, plan: &Plan) -> Result<Step, Lack> {
        let Share::Part { memory, compute } = share else {
            return if self.holders.is_empty() {
                Ok(Step::Above)
            } else {
                Err(Lack::Alone)
            };
        };
        if self.exclusive {
            return Err(Lack::Alone);
        }
        if memory.guarantee > self.free_memory() || memory.limit > self.capacity {
            return Err(Lack::Memory);
        }
        match compute {
            ComputeRequest::BestEffort => self.has_unguaranteed_units().then_some(Step::Above),
            ComputeRequest::Guaranteed { guarantee, .. } => self.step(*guarantee, plan),
        }
        .ok_or(Lack::Compute)
    }

    /// How well a guarantee of compute can be met here.
    pub fn step(&self, share: Millis, plan: &Plan) -> Option<Step> {
        if self.millis.saturating_add(share.0) > Millis::ONE.0 {
            return None;
        }
        if share == Millis::ONE {
            // Everything, the ragged tail too: nothing is left for those without a guarantee.
            return (!self.best_effort).then_some(Step::Above);
        }
        let step = plan.step(share, &self.free)?;
        let taken = plan
            .extents(share, step)
            .first()
            .map_or(0, |extent| extent.columns * extent.rows);
        let leaves_units = self.free.count() > taken || self.gpu.grid.tail_covers_every_xcc();
        (leaves_units || !self.best_effort).then_some(step)
    }

    /// The largest share that a new guarantee of compute can have here.
    pub fn largest_share(&self, plan: &Plan) -> Millis {
        let deliverable = self.gpu.grid.deliverable_units().max(1);
        let share = plan.largest(&self.free) * Millis::ONE.0 / deliverable;
        let share = share.min(Millis::ONE.0 - self.millis.min(Millis::ONE.0));
        let fits = |share: &u32| self.step(Millis(*share), plan).is_some();
        Millis(
            (1..=share)
                .rev()
                .find(fits)
                .filter(|_| !self.exclusive)
                .unwrap_or(0),
        )
    }

    /// Whether every XCC has a unit that nobody has a guarantee on.
    fn has_unguaranteed_units(&self) -> bool {
        !self.tail_taken && (self.free.count() > 0 || self.gpu.grid.tail_covers_every_xcc())
    }

    fn hold(&mut self, position: usize, slice: &Taken<'_>, grant: usize) {
        let Some(granted) = slice.grants.get(grant) else {
            return;
        };
        let used = slice.used.get(grant).copied().unwrap_or(0);
        let holding = MemoryHolding {
            guarantee: granted.memory_bytes,
            limit: granted.memory_limit_bytes,
            used,
        };
        // What is really used counts, even where it got past a limit.
        let held = holding.held().max(used);
        self.held = self.held.saturating_add(held);
        self.lent = self.lent.saturating_add(held - granted.memory_bytes.min(held));
        self.holders
            .push((position, held - granted.memory_bytes.min(held)));
        self.exclusive |= granted.exclusive;
        self.best_effort |= !granted.exclusive && granted.rect.is_none();
        if let Some(rect) = &granted.rect {
            self.free.remove(&CellRect::of_units(rect, &self.gpu.grid));
            self.tail_taken |= granted.compute_units >= self.gpu.grid.active_units;
        }
        if let Share::Part {
            compute: ComputeRequest::Guaranteed { guarantee, .. },
            ..
        } = slice.request.share
        {
            self.millis = self.millis.saturating_add(guarantee.0);
        }
    }
}

/// Every GPU with what slices hold of it. Grants on GPUs that are not there any more are passed over.
pub fn states<'a>(inventory: &'a Inventory, taken: &[Taken<'_>], rules: &Rules) -> Vec<GpuState<'a>> {
    let mut states: Vec<_> = inventory
        .gpus
        .iter()
        .map(|gpu| GpuState::empty(gpu, rules))
        .collect();
    for (position, slice) in taken.iter().enumerate() {
        for (grant, granted) in slice.grants.iter().enumerate() {
            let state = granted.position_in(&inventory.gpus);
            if let Some(state) = state.and_then(|at| states.get_mut(at)) {
                state.hold(position, slice, grant);
            }
        }
    }
    states
}
