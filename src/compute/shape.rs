//! Which rectangles may be given out: one small policy, so that a measurement on a card can change the choice alone.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use super::grid::CuGrid;

/// Extent of a rectangle in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// Columns.
    pub columns: u32,
    /// Rows of cells (a row is a CU slot, or a pair of them).
    pub rows: u32,
}

/// Says which extents a slice may have on a grid.
pub trait ShapePolicy {
    /// Whether a rectangle of this extent is given out on this grid.
    fn allows(&self, grid: &CuGrid, extent: Extent) -> bool;
}

/// The configured policy. Config values: `auto`, `rows`, `engines`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Any rectangle: finest steps, most slices.
    #[default]
    Auto,
    /// Whole rows: some CU slots of every shader engine.
    Rows,
    /// Whole columns: all CU slots of some shader engines.
    Engines,
}

impl ShapePolicy for Shape {
    fn allows(&self, grid: &CuGrid, extent: Extent) -> bool {
        match self {
            Self::Auto => true,
            Self::Rows => extent.columns == grid.columns(),
            Self::Engines => extent.rows == grid.cell_rows(),
        }
    }
}

/// What [`Shape`] accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no shape policy (there are auto, rows and engines)")]
pub struct ShapeError(String);

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "rows" => Ok(Self::Rows),
            "engines" => Ok(Self::Engines),
            other => Err(ShapeError(other.to_owned())),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Rows => "rows",
            Self::Engines => "engines",
        })
    }
}
