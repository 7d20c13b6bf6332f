//! Another amount of compute for a slice that is there, on the GPU that it has.

use super::place::{ComputeGrant, settle};
use super::state::{GpuState, states};
use super::{GpuGrant, Rules, Taken};
use crate::compute::cells::{CellRect, Cells};
use crate::compute::fit::Plan;
use crate::inventory::Inventory;
use crate::request::Millis;

/// Why a slice cannot have another amount of compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegrantError {
    /// Its GPU is not there.
    #[error("GPU {0} cannot be read now")]
    Absent(String),
    /// Others have too much.
    #[error("asked {asked} on GPU {index}; at most {most} can be guaranteed there beside the other slices")]
    TooMuch {
        /// Share asked for.
        asked: Millis,
        /// The GPU.
        index: u32,
        /// Most that would fit.
        most: Millis,
    },
}

/// The grant with another amount of compute, beside the other slices. A rectangle shrinks and grows where it is, as far as
/// that can be had; else it moves.
pub fn regrant(
    grant: &GpuGrant,
    (guarantee, limit): (Millis, Millis),
    (inventory, others): (&Inventory, &[Taken<'_>]),
    rules: &Rules,
) -> Result<GpuGrant, RegrantError> {
    let states = states(inventory, others, rules);
    let state = states.iter().find(|state| state.gpu.uuid == grant.uuid);
    let state = state.ok_or_else(|| RegrantError::Absent(grant.uuid.clone()))?;
    let plan = Plan::new(&state.gpu.grid, rules.shape);
    let too_much = || RegrantError::TooMuch {
        asked: guarantee,
        index: grant.index,
        most: state.largest_share(&plan),
    };
    state.step(guarantee, &plan).ok_or_else(too_much)?;
    let near = near(grant, guarantee, state, &plan);
    let compute = ComputeGrant::guaranteed((guarantee, limit), state, &plan, near).ok_or_else(too_much)?;
    Ok(settle(compute.applied_to(grant), state, others))
}

/// A rectangle within or around the present one that meets the share as well as any.
fn near(grant: &GpuGrant, share: Millis, state: &GpuState<'_>, plan: &Plan) -> Option<CellRect> {
    let own = CellRect::of_units(&grant.rect?, plan.grid());
    let step = plan.step(share, &state.free)?;
    let mut mine = Cells::none();
    mine.insert(&own);
    if plan.step(share, &mine) == Some(step) {
        return plan.choose(share, &mine);
    }
    let extents = plan.extents(share, step).iter();
    let room = |rect: &CellRect| {
        let mut rest = state.free;
        rest.remove(rect);
        plan.room(&rest)
    };
    extents
        .flat_map(|&extent| state.free.positions(extent))
        .filter(|rect| contains(rect, &own))
        .max_by_key(room)
}

fn contains(outer: &CellRect, inner: &CellRect) -> bool {
    let spans = |(start, length): (u32, u32), (from, count): (u32, u32)| {
        start <= from && from + count <= start + length
    };
    spans(
        (outer.column, outer.extent.columns),
        (inner.column, inner.extent.columns),
    ) && spans((outer.row, outer.extent.rows), (inner.row, inner.extent.rows))
}

impl ComputeGrant {
    fn applied_to(&self, grant: &GpuGrant) -> GpuGrant {
        GpuGrant {
            rect: self.rect,
            requested_units: self.requested,
            compute_units: self.units,
            compute_limit_units: self.limit,
            ..grant.clone()
        }
    }
}
