//! What lies between guarantee and limit: lent from what no guarantee holds.
//!
//! Both functions look at all slices of a GPU at once and are called again at every placement, release and resize.

use super::GpuGrant;
use crate::compute::cells::{CellRect, Cells, bits};
use crate::compute::grid::{CuGrid, CuRect, MAX_COLUMNS};
use crate::compute::mask::CuMask;
use crate::compute::shape::Extent;

/// What a slice holds of a GPU's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryHolding {
    /// Set aside for it.
    pub guarantee: u64,
    /// Never exceeded.
    pub limit: u64,
    /// In use now.
    pub used: u64,
}

impl MemoryHolding {
    /// What cannot be given to others: the guarantee, or more where lent memory is in use.
    pub fn held(&self) -> u64 {
        self.guarantee.max(self.used.min(self.limit))
    }
}

/// What each slice of a GPU may allocate now, in bytes: at least its guarantee and what it uses up to its limit, at
/// most its limit, and all together at most `capacity`.
///
/// What no guarantee holds is shared by level: every slice that may burst gets the same amount above its guarantee,
/// except where its limit is nearer or where it already uses more, which cannot be taken away. Where what is held
/// exceeds `capacity` (it does not by placement alone), nothing more is lent.
pub fn memory_limits(capacity: u64, holdings: &[MemoryHolding]) -> Vec<u64> {
    let lent = |holding: &MemoryHolding, level: u64| {
        let most = holding.limit.saturating_sub(holding.guarantee);
        level.clamp(
            holding.held() - holding.guarantee,
            most.max(holding.held() - holding.guarantee),
        )
    };
    let fits = |level: u64| {
        let total = |sum: u64, holding: &MemoryHolding| {
            sum.checked_add(holding.guarantee)?
                .checked_add(lent(holding, level))
        };
        holdings
            .iter()
            .try_fold(0, total)
            .is_some_and(|total| total <= capacity)
    };
    let level = highest(capacity, fits);
    holdings
        .iter()
        .map(|holding| holding.guarantee + lent(holding, level))
        .collect()
}

/// The highest level up to `most` that fits, given that lower ones fit where a higher one does; 0 if none does.
fn highest(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// The mask of each slice of a GPU, in the order given (older ones first: they choose first among what is lent).
///
/// - A whole GPU has no mask.
/// - A slice without a guarantee has every unit that nobody has a guarantee on.
/// - A slice whose limit is above its guarantee has its rectangle, and such of the units without a guarantee as
///   raise what it delivers, up to its limit. Two slices are lent the same unit only where there is no other.
pub fn compute_masks(grid: &CuGrid, grants: &[&GpuGrant]) -> Vec<CuMask> {
    let guaranteed: Vec<CuMask> = grants.iter().map(|grant| guaranteed_mask(grid, grant)).collect();
    let nobodys = guaranteed
        .iter()
        .fold(grid.full_mask(), |free, mask| free.without(mask));
    let mut lender = Lender::new(grid, grants);
    grants
        .iter()
        .zip(guaranteed)
        .map(|(grant, own)| match &grant.rect {
            _ if grant.exclusive => CuMask::default(),
            None => nobodys.clone(),
            Some(_) if grant.compute_limit_units <= grant.compute_units => own,
            // All of it, the ragged tail too, where nobody else has a guarantee.
            Some(_) if grant.compute_limit_units >= grid.active_units && is_alone(grants, grant) => {
                grid.full_mask()
            }
            Some(rect) => lender.lend(rect, grant.compute_limit_units).union(&own),
        })
        .collect()
}

/// The units that a slice alone may use; none for best effort and whole GPUs.
pub fn guaranteed_mask(grid: &CuGrid, grant: &GpuGrant) -> CuMask {
    match &grant.rect {
        // All units: the ragged tail too, on which nobody else can have a guarantee.
        Some(_) if grant.compute_units >= grid.active_units => grid.full_mask(),
        Some(rect) => grid.rect_mask(rect),
        None => CuMask::empty(grid.active_units),
    }
}

/// Whether no other slice has a guarantee on compute units.
fn is_alone(grants: &[&GpuGrant], grant: &GpuGrant) -> bool {
    grants.iter().filter(|other| other.rect.is_some()).count() == 1 && grant.rect.is_some()
}

/// Hands out free cells so that what slices deliver rises.
struct Lender<'a> {
    grid: &'a CuGrid,
    /// Cells without a guarantee.
    free: Cells,
    /// Those of them that nobody was lent yet.
    unlent: Cells,
}

/// Cells added to a rectangle, and what it delivers with them, in cells.
struct Extension {
    cells: Cells,
    delivered: u32,
}

impl<'a> Lender<'a> {
    fn new(grid: &'a CuGrid, grants: &[&GpuGrant]) -> Self {
        let mut free = Cells::all(grid);
        for rect in grants.iter().filter_map(|grant| grant.rect) {
            free.remove(&CellRect::of_units(&rect, grid));
        }
        Self {
            grid,
            free,
            unlent: free,
        }
    }

    /// The mask of the cells that a slice is lent beside its rectangle.
    fn lend(&mut self, rect: &CuRect, limit_units: u32) -> CuMask {
        let own = CellRect::of_units(rect, self.grid);
        let limit = limit_units / self.grid.units_per_cell();
        let alone = self.extend(&own, limit, &self.unlent);
        let shared = self.extend(&own, limit, &self.free);
        let chosen = if shared.delivered > alone.delivered {
            shared
        } else {
            alone
        };
        self.unlent = self.unlent.without(&chosen.cells);
        self.mask(&chosen.cells)
    }

    /// By the model a slice delivers (its engines) × (units of the least of them). So each number of cells an engine
    /// is tried; engines that have as many, own and free, take part, as many as the limit allows.
    fn extend(&self, own: &CellRect, limit: u32, from: &Cells) -> Extension {
        let engines = self.engines(own, from);
        let highest = engines
            .iter()
            .map(|engine| engine.own + engine.free)
            .max()
            .unwrap_or(0);
        let lowest = engines.iter().map(|engine| engine.own).max().unwrap_or(0);
        let mut best = (0, lowest, 0);
        for level in lowest.max(1)..=highest {
            let able = |engine: &&Engine| engine.own + engine.free >= level;
            let all_own_are_able = engines
                .iter()
                .filter(|engine| engine.own > 0)
                .all(|engine| able(&engine));
            let able = engines.iter().filter(able).count() as u32;
            let taking_part = able.min(limit / level);
            if all_own_are_able && taking_part * level > best.0 {
                best = (taking_part * level, level, taking_part);
            }
        }
        let (delivered, level, taking_part) = best;
        let mine = engines.iter().filter(|engine| engine.own > 0);
        if taking_part < mine.clone().count() as u32 {
            return Extension {
                cells: Cells::none(),
                delivered: 0,
            };
        }
        let others = engines
            .iter()
            .filter(|engine| engine.own == 0 && engine.free >= level);
        let mut cells = Cells::none();
        for engine in mine.chain(others).take(taking_part as usize) {
            self.take(engine.index, level - engine.own, from, &mut cells);
        }
        Extension { cells, delivered }
    }

    fn engines(&self, own: &CellRect, from: &Cells) -> Vec<Engine> {
        let mut mine = Cells::none();
        mine.insert(own);
        let count = |cells: &Cells, engine: u32| {
            self.columns_of(engine)
                .map(|column| cells.rows_of(column).count_ones())
                .sum()
        };
        let engine = |index| Engine {
            index,
            own: count(&mine, index),
            free: count(from, index),
        };
        (0..self.grid.engines).map(engine).collect()
    }

    /// An engine's columns: one for each of its arrays.
    fn columns_of(&self, engine: u32) -> impl Iterator<Item = u32> {
        (engine..self.grid.columns().min(MAX_COLUMNS)).step_by(self.grid.engines as usize)
    }

    fn take(&self, engine: u32, mut count: u32, from: &Cells, into: &mut Cells) {
        for column in self.columns_of(engine) {
            for row in bits(from.rows_of(column)).take(count as usize) {
                into.insert(&CellRect {
                    column,
                    row,
                    extent: Extent { columns: 1, rows: 1 },
                });
                count -= 1;
            }
        }
    }

    fn mask(&self, cells: &Cells) -> CuMask {
        let one = Extent { columns: 1, rows: 1 };
        cells
            .positions(one)
            .fold(CuMask::empty(self.grid.active_units), |mask, cell| {
                mask.union(&self.grid.rect_mask(&cell.to_units(self.grid)))
            })
    }
}

/// A shader engine as the lender sees it; counts in cells.
struct Engine {
    index: u32,
    own: u32,
    free: u32,
}
