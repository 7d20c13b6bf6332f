//! The grid of compute units: XCC × shader engine × CU slot.
//!
//! A *column* is a shader array of an XCC (on CDNA an engine has one array, so a column is a shader engine), a *row* is
//! one CU slot, or a pair of slots from gfx10 on. A *cell* is a row of a column on every XCC at once: the smallest
//! thing that is given out, so that whatever is given covers every XCC.

use serde::{Deserialize, Serialize};

/// Most columns: `KFD_MAX_NUM_SE` (8) × `KFD_MAX_NUM_SH_PER_SE` (2), Linux, `kfd_priv.h`.
pub const MAX_COLUMNS: u32 = 16;
/// Most CU slots of a shader array: half of a 32-bit register of the queue descriptor, which holds two arrays.
/// Source: `mqd_symmetrically_map_cu_mask()`.
pub const MAX_SLOTS: u32 = 16;
/// Most compute units: the room for a mask in the limits page.
pub const MAX_UNITS: u32 = sdg_abi::limits::MASK_WORDS as u32 * u32::BITS;
/// `gfx_target_version` of the first chips whose compute units come in pairs (WGPs): 10.0.0.
const FIRST_PAIRED_GFX: u32 = 100_000;

/// Where a GPU's compute units are, as the kernel's mask mapping sees them.
/// Source: `mqd_symmetrically_map_cu_mask()` in Linux, `kfd_mqd_manager.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CuGrid {
    /// XCCs (compute dies) of this GPU or partition; 1 before gfx9.4.3.
    pub xccs: u32,
    /// Shader engines of one XCC.
    pub engines: u32,
    /// Shader arrays of one engine; 1 on CDNA.
    pub arrays: u32,
    /// CU slots of one shader array, harvested ones included.
    pub slots: u32,
    /// Compute units that work, on all XCCs together.
    pub active_units: u32,
    /// Compute units come in pairs (gfx10 and later): both bits of a pair, or none.
    pub paired: bool,
}

/// A rectangle of the grid, on every XCC alike: columns × CU slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CuRect {
    /// First column: index of a shader engine. With several arrays in an engine the columns are in the kernel's
    /// order: array 0 of every engine, then array 1 of every engine.
    pub engine: u32,
    /// Columns.
    pub engines: u32,
    /// First CU slot; even where compute units come in pairs.
    pub slot: u32,
    /// CU slots; even where compute units come in pairs.
    pub slots: u32,
}

/// Lines of a KFD node's `properties` that give the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyFigures {
    /// SIMDs that work.
    pub simd_count: u32,
    /// SIMDs of a compute unit.
    pub simd_per_cu: u32,
    /// Shader arrays of all XCCs together.
    pub array_count: u32,
    /// Shader arrays of one engine.
    pub simd_arrays_per_engine: u32,
    /// CU slots of one array.
    pub cu_per_simd_array: u32,
    /// XCCs; 1 where the kernel does not say.
    pub num_xcc: u32,
    /// E.g. 90402 for gfx942.
    pub gfx_target_version: u32,
}

/// Why figures do not make a grid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// A figure is zero.
    #[error("{0} is 0 in the topology (a GPU has at least 1)")]
    Zero(&'static str),
    /// A figure is no multiple of another.
    #[error("{what} {count} in the topology is no multiple of {unit} {of}")]
    NoMultiple {
        /// The figure.
        what: &'static str,
        /// Its value.
        count: u32,
        /// The other figure's value.
        of: u32,
        /// The other figure.
        unit: &'static str,
    },
    /// More than a mask can address, or more of one thing than there is of another.
    #[error("{count} {what} (a CU mask reaches {most} here)")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: u32,
        /// How many there may be.
        most: u32,
    },
    /// Pairs on several XCCs: the kernel's mapping lets neighbouring XCCs share mask bits there.
    #[error("{xccs} XCCs with paired compute units (the kernel has no mask for one XCC alone there)")]
    PairsOnSeveralXccs {
        /// XCCs.
        xccs: u32,
    },
}

impl CuGrid {
    /// The grid of a GPU or partition.
    pub fn from_topology(figures: &TopologyFigures) -> Result<Self, GridError> {
        let units = divide(
            ("simd_count", figures.simd_count),
            ("simd_per_cu", figures.simd_per_cu),
        )?;
        let arrays_of_xcc = divide(("array_count", figures.array_count), ("num_xcc", figures.num_xcc))?;
        let engines = divide(
            ("array_count / num_xcc", arrays_of_xcc),
            ("simd_arrays_per_engine", figures.simd_arrays_per_engine),
        )?;
        if figures.cu_per_simd_array == 0 {
            return Err(GridError::Zero("cu_per_simd_array"));
        }
        at_most("shader arrays in an XCC", arrays_of_xcc, MAX_COLUMNS)?;
        at_most("CU slots in a shader array", figures.cu_per_simd_array, MAX_SLOTS)?;
        let places = figures.array_count.saturating_mul(figures.cu_per_simd_array);
        at_most("compute units", units, places.min(MAX_UNITS))?;
        at_most("XCCs", figures.num_xcc, units)?;
        let grid = Self {
            xccs: figures.num_xcc,
            engines,
            arrays: figures.simd_arrays_per_engine,
            slots: figures.cu_per_simd_array,
            active_units: units,
            paired: figures.gfx_target_version >= FIRST_PAIRED_GFX,
        };
        if grid.paired && grid.xccs > 1 {
            return Err(GridError::PairsOnSeveralXccs { xccs: grid.xccs });
        }
        Ok(grid)
    }

    /// Columns of an XCC: engines × arrays, in the kernel's order (see [`CuRect::engine`]).
    pub fn columns(&self) -> u32 {
        self.engines * self.arrays
    }

    /// CU slots that every column surely has.
    ///
    /// Which engines lost units to harvesting is not in sysfs. The number of rows here takes the loss to be spread
    /// evenly, as the vendor does it (38 of 40 on an MI300X's XCC: two engines with 10, two with 9). Above these
    /// rows is the ragged tail: there the kernel skips engines that have no such unit, so a mask bit's engine is not
    /// known, and no slice is given a guarantee there.
    pub fn rows(&self) -> u32 {
        let even = (self.active_units / self.xccs.max(1) / self.columns().max(1)).min(self.slots);
        even - even % self.slots_per_row()
    }

    /// CU slots that are given out together: 2 where compute units come in pairs.
    pub fn slots_per_row(&self) -> u32 {
        if self.paired { 2 } else { 1 }
    }

    /// Rows of cells: [`Self::rows`] in steps of [`Self::slots_per_row`].
    pub fn cell_rows(&self) -> u32 {
        self.rows() / self.slots_per_row()
    }

    /// Cells that can be given out.
    pub fn cells(&self) -> u32 {
        self.columns() * self.cell_rows()
    }

    /// Compute units of one cell: one slot (or pair) on every XCC.
    pub fn units_per_cell(&self) -> u32 {
        self.xccs * self.slots_per_row()
    }

    /// Compute units of all cells: what the whole grid delivers (288 on an MI300X in SPX).
    pub fn deliverable_units(&self) -> u32 {
        self.cells() * self.units_per_cell()
    }

    /// The rectangle of all cells.
    pub fn full_rect(&self) -> CuRect {
        CuRect {
            engine: 0,
            engines: self.columns(),
            slot: 0,
            slots: self.rows(),
        }
    }

    /// Compute units of a rectangle.
    pub fn rect_units(&self, rect: &CuRect) -> u32 {
        rect.engines * rect.slots * self.xccs
    }
}

/// `(name, value)` of a figure divided by that of another.
fn divide(whole: (&'static str, u32), by: (&'static str, u32)) -> Result<u32, GridError> {
    for (name, value) in [whole, by] {
        if value == 0 {
            return Err(GridError::Zero(name));
        }
    }
    if !whole.1.is_multiple_of(by.1) {
        return Err(GridError::NoMultiple {
            what: whole.0,
            count: whole.1,
            of: by.1,
            unit: by.0,
        });
    }
    Ok(whole.1 / by.1)
}

fn at_most(what: &'static str, count: u32, most: u32) -> Result<(), GridError> {
    if count > most {
        return Err(GridError::TooMany { what, count, most });
    }
    Ok(())
}
