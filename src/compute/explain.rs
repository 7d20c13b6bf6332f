//! What became of a share of compute, in a sentence.

use super::grid::{CuGrid, CuRect};
use super::mask::CuMask;
use crate::placement::GpuGrant;

/// Says what was asked, granted and what it delivers: "76 asked: 64 effective in order, 72 as one shader engine of
/// every XCC".
pub fn explain(grid: &CuGrid, grant: &GpuGrant) -> String {
    let delivered = grant.effective_units;
    let Some(rect) = &grant.rect else {
        return if grant.exclusive {
            format!("whole GPU: {} units, {delivered} effective", grant.compute_units)
        } else {
            format!(
                "best effort: {} units without a guarantee, {delivered} effective",
                grant.cu_mask.count()
            )
        };
    };
    let asked = grant.requested_units;
    let in_order = grid.effective_units(&CuMask::lowest(asked));
    let own = grid.effective_rect_units(rect.engines, rect.slots);
    let mut text = format!(
        "{asked} asked: {in_order} effective in order, {own} as {}",
        shape(grid, rect)
    );
    // Asked is a share of the working units, the aim is the same share of what the grid delivers.
    let aim = f64::from(asked) * f64::from(grid.deliverable_units()) / f64::from(grid.active_units.max(1));
    if f64::from(own) + 1.0 <= aim {
        text += &format!(" (one step below the {aim:.0} aimed at: nothing larger was free)");
    }
    if delivered > own {
        text += &format!(", {delivered} with what is lent");
    }
    text
}

fn shape(grid: &CuGrid, rect: &CuRect) -> String {
    let column = if grid.arrays > 1 {
        "shader array"
    } else {
        "shader engine"
    };
    let all_columns = rect.engines == grid.columns();
    let all_rows = rect.slots == grid.rows();
    let place = match (all_columns, all_rows) {
        (true, true) => "the whole grid".to_owned(),
        (false, true) => count(rect.engines, column),
        (true, false) => format!("{} of every {column}", count(rect.slots, "CU slot")),
        (false, false) => format!(
            "{} in {}",
            count(rect.slots, "CU slot"),
            count(rect.engines, column)
        ),
    };
    if grid.xccs > 1 {
        format!("{place} of every XCC")
    } else {
        place
    }
}

fn count(number: u32, what: &str) -> String {
    if number == 1 {
        format!("one {what}")
    } else {
        format!("{number} {what}s")
    }
}
