//! Which cells of a grid are free: a bitmap, a word a column.

use super::grid::{CuGrid, CuRect, MAX_COLUMNS};
use super::shape::Extent;

/// Cells of a grid, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    columns: [u16; MAX_COLUMNS as usize],
}

/// A rectangle of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellRect {
    /// First column.
    pub column: u32,
    /// First row.
    pub row: u32,
    /// Columns and rows.
    pub extent: Extent,
}

impl CellRect {
    /// In columns and CU slots.
    pub fn to_units(self, grid: &CuGrid) -> CuRect {
        let pair = grid.slots_per_row();
        CuRect {
            engine: self.column,
            engines: self.extent.columns,
            slot: self.row * pair,
            slots: self.extent.rows * pair,
        }
    }

    /// From columns and CU slots; a pair that is half in counts whole.
    pub fn of_units(rect: &CuRect, grid: &CuGrid) -> Self {
        let pair = grid.slots_per_row();
        let row = rect.slot / pair;
        let end = (rect.slot + rect.slots).div_ceil(pair);
        Self {
            column: rect.engine,
            row,
            extent: Extent {
                columns: rect.engines,
                rows: end - row,
            },
        }
    }

    /// A bit for each of its rows.
    fn rows(&self) -> u16 {
        low_bits(self.extent.rows).checked_shl(self.row).unwrap_or(0)
    }

    fn columns(&self) -> std::ops::Range<usize> {
        let end = (self.column + self.extent.columns).min(MAX_COLUMNS);
        self.column.min(end) as usize..end as usize
    }
}

/// The lowest `count` bits.
fn low_bits(count: u32) -> u16 {
    u16::MAX.checked_shr(16u32.saturating_sub(count)).unwrap_or(0)
}

impl Cells {
    /// No cell.
    pub fn none() -> Self {
        Self {
            columns: [0; MAX_COLUMNS as usize],
        }
    }

    /// Every cell of a grid.
    pub fn all(grid: &CuGrid) -> Self {
        let mut cells = Self::none();
        let extent = Extent {
            columns: grid.columns(),
            rows: grid.cell_rows(),
        };
        cells.insert(&CellRect {
            column: 0,
            row: 0,
            extent,
        });
        cells
    }

    /// Adds a rectangle.
    pub fn insert(&mut self, rect: &CellRect) {
        for column in self.columns.get_mut(rect.columns()).unwrap_or_default() {
            *column |= rect.rows();
        }
    }

    /// Takes a rectangle out.
    pub fn remove(&mut self, rect: &CellRect) {
        for column in self.columns.get_mut(rect.columns()).unwrap_or_default() {
            *column &= !rect.rows();
        }
    }

    /// Cells of these that the other has not.
    pub fn without(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            *mine &= !theirs;
        }
        self
    }

    /// Number of cells.
    pub fn count(&self) -> u32 {
        self.columns.iter().map(|column| column.count_ones()).sum()
    }

    /// The rows of a column that are there, a bit each.
    pub fn rows_of(&self, column: u32) -> u16 {
        self.columns.get(column as usize).copied().unwrap_or(0)
    }

    /// The rows at which a rectangle whose first column is `column` can begin, a bit each.
    pub fn starts(&self, extent: Extent, column: u32) -> u16 {
        let end = column + extent.columns;
        if extent.rows == 0 || extent.columns == 0 || end > MAX_COLUMNS {
            return 0;
        }
        let across = self
            .columns
            .get(column as usize..end as usize)
            .unwrap_or_default();
        let mut starts = across.iter().fold(u16::MAX, |rows, column| rows & column);
        // Runs of `have` rows become runs of `rows` by doubling.
        let mut have = 1;
        while have < extent.rows && starts != 0 {
            let step = have.min(extent.rows - have);
            starts &= starts >> step;
            have += step;
        }
        starts
    }

    /// Whether a rectangle fits anywhere.
    pub fn fits(&self, extent: Extent) -> bool {
        (0..MAX_COLUMNS).any(|column| self.starts(extent, column) != 0)
    }

    /// Every place a rectangle fits in, by column, then row.
    pub fn positions(&self, extent: Extent) -> impl Iterator<Item = CellRect> {
        (0..MAX_COLUMNS).flat_map(move |column| {
            bits(self.starts(extent, column)).map(move |row| CellRect { column, row, extent })
        })
    }
}

/// The numbers of the set bits, lowest first.
pub fn bits(mut word: u16) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(bit)
    })
}
