//! The way from a request to grants.

use super::error::PlacementError;
use super::several::{Links, choose_several};
use super::state::{GpuState, states};
use super::{GpuGrant, Placement, Rules, Taken, lending, refusal};
use crate::compute::cells::CellRect;
use crate::compute::fit::{Plan, Step};
use crate::compute::grid::{CuGrid, CuRect};
use crate::compute::mask::CuMask;
use crate::inventory::{Inventory, Offer};
use crate::request::{ComputeRequest, MemoryRequest, Millis, PlacementPolicy, Share, SliceRequest};

/// A GPU that has room, and how good a choice it is: lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// Not yet home to the request's group.
    away: bool,
    /// How well the compute guarantee can be met.
    step: Step,
    /// By the placement policy.
    rank: u64,
    /// Position in the inventory.
    pub at: usize,
}

/// Finds the place of a request among the slices that are there (older ones first).
///
/// A GPU that meets the compute guarantee in full comes before one that meets it to within a step; then the fullest
/// (pack) or the emptiest (spread); then the lower index.
pub fn place(
    request: &SliceRequest,
    inventory: &Inventory,
    taken: &[Taken<'_>],
    rules: &Rules,
) -> Result<Placement, PlacementError> {
    let states = states(inventory, taken, rules);
    let mut plans = Plans::new(rules);
    let links = Links::new(&inventory.gpus, request);
    let pinned = pinned(request, &states, inventory)?;
    refusal::check_size(request, &states, (&pinned, rules))?;
    let home = home(request, inventory, taken);
    let eligible: Vec<usize> = pinned
        .into_iter()
        .filter(|&at| home.iter().all(|&member| links.together(at, member)))
        .collect();

    let mut fitting: Vec<Candidate> = Vec::with_capacity(eligible.len());
    for (at, state) in eligible.iter().filter_map(|&at| Some((at, states.get(at)?))) {
        if let Ok(step) = state.fit(&request.share, plans.of(&state.gpu.grid)) {
            let rank = match request.placement {
                PlacementPolicy::Pack => u64::MAX - state.fullness(),
                PlacementPolicy::Spread => state.fullness(),
            };
            fitting.push(Candidate {
                away: !home.contains(&at),
                step,
                rank,
                at,
            });
        }
    }
    fitting.sort_unstable();

    let count = request.count as usize;
    let refuse = || refusal::Refusal {
        request,
        states: &states,
        eligible: &eligible,
        fitting: &fitting,
        taken,
    };
    let chosen = match (count, fitting.first()) {
        (1, Some(best)) => vec![best.at],
        (2.., _) if fitting.len() >= count => {
            choose_several(&fitting, count, &links).map_err(|linked| refuse().not_linked(linked))?
        }
        _ => return Err(refuse().reason(&mut plans, &home)),
    };
    let grants = chosen.iter().filter_map(|&at| states.get(at)).map(|state| {
        let plan = plans.of(&state.gpu.grid);
        grant(request, state, plan, taken)
    });
    let mut grants = grants
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| refuse().reason(&mut Plans::new(rules), &home))?;
    grants.sort_unstable_by_key(|grant| grant.index);
    Ok(Placement { grants })
}

/// Plans by grid: the GPUs of a node mostly have the same.
pub(super) struct Plans {
    rules: Rules,
    made: Vec<Plan>,
}

impl Plans {
    fn new(rules: &Rules) -> Self {
        Self {
            rules: *rules,
            made: Vec::new(),
        }
    }

    /// The plan of a grid.
    pub fn of(&mut self, grid: &CuGrid) -> &Plan {
        let at = self
            .made
            .iter()
            .position(|plan| plan.grid() == grid)
            .unwrap_or_else(|| {
                self.made.push(Plan::new(grid, self.rules.shape));
                self.made.len() - 1
            });
        &self.made[at]
    }
}

/// Positions of the GPUs that a request may have.
fn pinned(
    request: &SliceRequest,
    states: &[GpuState<'_>],
    inventory: &Inventory,
) -> Result<Vec<usize>, PlacementError> {
    let asked = request.count;
    let offered = |offer: Offer| -> Vec<usize> {
        let is_offered = |at: &usize| states.get(*at).is_some_and(|s| inventory.offer(s.gpu) == offer);
        (0..states.len()).filter(is_offered).collect()
    };
    let Some(selector) = &request.gpu else {
        let any = offered(Offer::Any);
        if any.is_empty() {
            return Err(refusal::no_gpu(inventory));
        }
        if asked as usize > any.len() {
            return Err(refusal::too_many(asked, any.len(), offered(Offer::Named).len()));
        }
        return Ok(any);
    };
    let named: Vec<usize> = (0..states.len())
        .filter(|&at| {
            states
                .get(at)
                .is_some_and(|s| selector.names(s.gpu) && !s.gpu.excluded)
        })
        .collect();
    if named.is_empty() {
        return Err(refusal::absent(selector, states, inventory));
    }
    if asked as usize > named.len() {
        return Err(PlacementError::PinnedTooFew {
            asked,
            selector: selector.to_string(),
            named: named.len(),
        });
    }
    Ok(named)
}

/// Positions of the GPUs that the request's group is on.
fn home(request: &SliceRequest, inventory: &Inventory, taken: &[Taken<'_>]) -> Vec<usize> {
    let Some(group) = &request.group else {
        return Vec::new();
    };
    let members = taken
        .iter()
        .filter(|slice| slice.request.group.as_ref() == Some(group));
    let mut home: Vec<usize> = members
        .flat_map(|slice| slice.grants)
        .filter_map(|grant| inventory.gpus.iter().position(|gpu| gpu.uuid == grant.uuid))
        .collect();
    home.sort_unstable();
    home.dedup();
    home
}

/// What the slice gets of one GPU; none where its rectangle does not fit after all.
fn grant(request: &SliceRequest, state: &GpuState<'_>, plan: &Plan, taken: &[Taken<'_>]) -> Option<GpuGrant> {
    let gpu = state.gpu;
    let grid = &gpu.grid;
    let share = match &request.share {
        Share::Whole => ComputeGrant::whole(grid),
        Share::Part {
            compute: ComputeRequest::BestEffort,
            ..
        } => ComputeGrant::best_effort(grid),
        Share::Part {
            compute: ComputeRequest::Guaranteed { guarantee, limit },
            ..
        } => ComputeGrant::guaranteed((*guarantee, *limit), state, plan, None)?,
    };
    let memory = match request.share {
        Share::Part { memory, .. } => memory,
        Share::Whole => MemoryRequest {
            guarantee: gpu.memory_bytes,
            limit: gpu.memory_bytes,
        },
    };
    let grant = GpuGrant {
        index: gpu.index,
        uuid: gpu.uuid.clone(),
        gpu_id: gpu.gpu_id,
        render_minor: gpu.render_minor,
        memory_bytes: memory.guarantee,
        memory_limit_bytes: memory.limit,
        exclusive: request.share == Share::Whole,
        rect: share.rect,
        requested_units: share.requested,
        compute_units: share.units,
        compute_limit_units: share.limit,
        effective_units: grid.deliverable_units(),
        cu_mask: CuMask::default(),
    };
    Some(settle(grant, state, taken))
}

/// A grant with its mask beside the other slices, and what that delivers.
pub(super) fn settle(mut grant: GpuGrant, state: &GpuState<'_>, taken: &[Taken<'_>]) -> GpuGrant {
    let grid = &state.gpu.grid;
    let others = state
        .holders
        .iter()
        .filter_map(|&(position, _)| taken.get(position));
    let mut grants: Vec<&GpuGrant> = others
        .flat_map(|slice| slice.grants.iter().filter(|grant| grant.uuid == state.gpu.uuid))
        .collect();
    grants.push(&grant);
    let mask = lending::compute_masks(grid, &grants).pop().unwrap_or_default();
    if !grant.exclusive {
        grant.effective_units = grid.effective_units(&mask);
        grant.cu_mask = mask;
    }
    grant
}

/// The compute part of a grant; units.
pub(super) struct ComputeGrant {
    pub rect: Option<CuRect>,
    pub requested: u32,
    pub units: u32,
    pub limit: u32,
}

impl ComputeGrant {
    fn whole(grid: &CuGrid) -> Self {
        let all = grid.active_units;
        Self {
            rect: None,
            requested: all,
            units: all,
            limit: all,
        }
    }

    fn best_effort(grid: &CuGrid) -> Self {
        Self {
            rect: None,
            requested: 0,
            units: 0,
            limit: grid.active_units,
        }
    }

    /// A rectangle for a guarantee: `wanted`, or the best of those that are free.
    pub fn guaranteed(
        (guarantee, limit): (Millis, Millis),
        state: &GpuState<'_>,
        plan: &Plan,
        wanted: Option<CellRect>,
    ) -> Option<Self> {
        let grid = &state.gpu.grid;
        let (rect, units) = if guarantee == Millis::ONE {
            (grid.full_rect(), grid.active_units)
        } else {
            let rect = wanted.or_else(|| plan.choose(guarantee, &state.free))?;
            let rect = rect.to_units(grid);
            (rect, grid.rect_units(&rect))
        };
        let ceiling = match limit {
            Millis::ONE => grid.active_units,
            // The share of what the grid delivers, as for the guarantee; never below what was granted.
            below if below > guarantee => share_of(below, grid.deliverable_units()).max(units),
            _ => units,
        };
        let requested = (2 * guarantee.0 * grid.active_units + Millis::ONE.0) / (2 * Millis::ONE.0);
        Some(Self {
            rect: Some(rect),
            requested,
            units,
            limit: ceiling,
        })
    }
}

fn share_of(share: Millis, units: u32) -> u32 {
    share.0 * units / Millis::ONE.0
}
