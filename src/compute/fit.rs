//! Which rectangle a share of a GPU becomes.
//!
//! A share of m thousandths aims at m/1000 of what the whole grid delivers. The *step above* is the fewest effective
//! units that reach the aim and that some allowed rectangle delivers on an empty grid; the *step below* is the most
//! that do not exceed it. A request gets a rectangle of the step above if one is free; else, so that shares that add
//! up to a GPU fit it although cells cannot be halved, one of the step below; else it is refused. So a guarantee is
//! met in full wherever it can be, and to within one step at the worst.
//!
//! Among rectangles of a step, that one is taken after which most can still be given out: see [`Plan::room`].

use super::cells::{CellRect, Cells};
use super::grid::CuGrid;
use super::shape::{Extent, Shape, ShapePolicy};
use crate::request::Millis;

/// Shares that later requests are expected to have: what [`Plan::room`] counts.
const USUAL_SHARES: [Millis; 4] = [Millis(500), Millis(250), Millis(125), Millis(100)];

/// How well a share is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// In full.
    Above,
    /// To within one step.
    Below,
}

/// The rectangles that a grid offers under a policy, fewest units first. Rectangles that waste units by the model
/// are not among them: each holds a smaller one that delivers as much.
#[derive(Clone, Debug)]
pub struct Plan {
    grid: CuGrid,
    extents: Vec<Extent>,
    usual: [(u32, Steps); USUAL_SHARES.len()],
}

/// Ranges of [`Plan::extents`].
#[derive(Clone, Debug, Default)]
struct Steps {
    above: std::ops::Range<usize>,
    below: std::ops::Range<usize>,
}

fn cells(extent: &Extent) -> u32 {
    extent.columns * extent.rows
}

impl Plan {
    /// What can be given out on a grid.
    pub fn new(grid: &CuGrid, policy: Shape) -> Self {
        let extents = (1..=grid.columns())
            .flat_map(|columns| (1..=grid.cell_rows()).map(move |rows| Extent { columns, rows }))
            .filter(|&extent| policy.allows(grid, extent))
            .filter(|extent| {
                let slots = extent.rows * grid.slots_per_row();
                grid.effective_rect_units(extent.columns, slots) == cells(extent) * grid.units_per_cell()
            });
        let mut plan = Self {
            grid: *grid,
            extents: extents.collect(),
            usual: Default::default(),
        };
        plan.extents
            .sort_unstable_by_key(|extent| (cells(extent), extent.columns));
        plan.usual = USUAL_SHARES.map(|share| (share.0, plan.steps(share)));
        plan
    }

    /// The grid that this was made for.
    pub fn grid(&self) -> &CuGrid {
        &self.grid
    }

    /// The extents of a step for a share; empty where there is no such step.
    pub fn extents(&self, share: Millis, step: Step) -> &[Extent] {
        let steps = self.steps(share);
        self.slice(match step {
            Step::Above => &steps.above,
            Step::Below => &steps.below,
        })
    }

    /// How well a share can be met on what is free; none: not at all.
    pub fn step(&self, share: Millis, free: &Cells) -> Option<Step> {
        [Step::Above, Step::Below]
            .into_iter()
            .find(|&step| self.extents(share, step).iter().any(|&extent| free.fits(extent)))
    }

    /// The rectangle for a share on what is free; none: it does not fit.
    pub fn choose(&self, share: Millis, free: &Cells) -> Option<CellRect> {
        let step = self.step(share, free)?;
        let candidates = self
            .extents(share, step)
            .iter()
            .flat_map(|&extent| corners(free, extent));
        let mut best: Option<(u32, CellRect)> = None;
        for rect in candidates {
            let mut rest = *free;
            rest.remove(&rect);
            let room = self.room(&rest);
            if best.is_none_or(|(most, _)| room > most) {
                best = Some((room, rect));
            }
        }
        best.map(|(_, rect)| rect)
    }

    /// The most units that one rectangle can still have.
    pub fn largest(&self, free: &Cells) -> u32 {
        let largest = self.extents.iter().rev().find(|&&extent| free.fits(extent));
        largest.map_or(0, |extent| cells(extent) * self.grid.units_per_cell())
    }

    /// How much room free cells have: for each usual share, how many of it fit, in thousandths of the GPU.
    pub fn room(&self, free: &Cells) -> u32 {
        self.usual
            .iter()
            .map(|(share, steps)| share * self.count_fitting(free, steps))
            .sum()
    }

    /// How many rectangles of two steps fit, by first fit; the best of the orders that begin with each extent.
    fn count_fitting(&self, free: &Cells, steps: &Steps) -> u32 {
        let above = self.slice(&steps.above);
        let below = self.slice(&steps.below);
        let orders = 0..above.len().max(1);
        let counts = orders.map(|first| {
            let mut rest = *free;
            let rotated = above.iter().skip(first).chain(above.iter().take(first));
            rotated
                .chain(below)
                .map(|&extent| take_all(&mut rest, extent))
                .sum()
        });
        counts.max().unwrap_or(0)
    }

    fn steps(&self, share: Millis) -> Steps {
        let aim = u64::from(share.0) * u64::from(self.grid.cells());
        let thousandths = |extent: &Extent| u64::from(cells(extent)) * 1000;
        let reach = self.extents.partition_point(|extent| thousandths(extent) < aim);
        let exceed = self.extents.partition_point(|extent| thousandths(extent) <= aim);
        Steps {
            above: self.run_from(reach),
            below: self.run_to(exceed),
        }
    }

    /// The extents of equal size that begin at an index.
    fn run_from(&self, start: usize) -> std::ops::Range<usize> {
        let tail = self.extents.get(start..).unwrap_or_default();
        let size = tail.first().map_or(0, cells);
        start..start + tail.partition_point(|extent| cells(extent) == size)
    }

    /// The extents of equal size that end before an index.
    fn run_to(&self, end: usize) -> std::ops::Range<usize> {
        let head = self.extents.get(..end).unwrap_or_default();
        let size = head.last().map_or(0, cells);
        head.partition_point(|extent| cells(extent) < size)..head.len()
    }

    fn slice(&self, range: &std::ops::Range<usize>) -> &[Extent] {
        self.extents.get(range.clone()).unwrap_or_default()
    }
}

/// Takes out rectangles of an extent until none fits; says how many.
fn take_all(free: &mut Cells, extent: Extent) -> u32 {
    let mut taken = 0;
    for column in 0..super::grid::MAX_COLUMNS {
        loop {
            let starts = free.starts(extent, column);
            if starts == 0 {
                break;
            }
            free.remove(&CellRect {
                column,
                row: starts.trailing_zeros(),
                extent,
            });
            taken += 1;
        }
    }
    taken
}

/// The places of an extent that can be pushed neither both left and right nor both up and down: others only cut
/// what is free into smaller pieces.
fn corners(free: &Cells, extent: Extent) -> impl Iterator<Item = CellRect> {
    free.positions(extent).filter(move |rect| {
        let fits = |column: Option<u32>, row: Option<u32>| {
            matches!((column, row), (Some(column), Some(row)) if row < 16 && free.starts(extent, column) >> row & 1 == 1)
        };
        let (column, row) = (rect.column, rect.row);
        let sideways = fits(column.checked_sub(1), Some(row)) && fits(Some(column + 1), Some(row));
        let upright = fits(Some(column), row.checked_sub(1)) && fits(Some(column), Some(row + 1));
        !sideways && !upright
    })
}
