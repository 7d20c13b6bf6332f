//! Whose the compute units of a GPU are: XCC × column × slot. Pure.
//!
//! Slices are rectangles on every XCC alike, so a strip shows one XCC for all; where XCCs differ it says so, and the grid
//! of the detail view shows each.

use super::letters::Letters;
use crate::compute::grid::CuGrid;
use crate::compute::mapping::UnitAddress;
use crate::compute::mask::CuMask;
use crate::inventory::Gpu;
use crate::snapshot::Snapshot;

/// Who runs on a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// A slice that has a guarantee on it.
    Guaranteed(char),
    /// One slice, without a guarantee.
    Lent(char),
    /// Several slices, none with a guarantee.
    Shared,
    /// No slice.
    Idle,
    /// There is no unit: harvested, or not in this engine.
    Absent,
    /// Not the same on every XCC.
    Differs,
}

impl Mark {
    /// As text: a capital letter for a guarantee, a small one for what is lent.
    pub fn symbol(self) -> char {
        match self {
            Self::Guaranteed(letter) => letter,
            Self::Lent(letter) => letter.to_ascii_lowercase(),
            Self::Shared => '+',
            Self::Idle => '.',
            Self::Absent => ' ',
            Self::Differs => '*',
        }
    }

    /// The letter of the one slice that it belongs to.
    pub fn letter(self) -> Option<char> {
        match self {
            Self::Guaranteed(letter) | Self::Lent(letter) => Some(letter),
            _ => None,
        }
    }
}

/// The units of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMap {
    grid: CuGrid,
    /// By mask bit.
    marks: Vec<Mark>,
}

/// A slice's masks on a GPU.
struct Owner {
    letter: char,
    guaranteed: CuMask,
    runs_on: CuMask,
}

impl UnitMap {
    /// Looks at every slice of a GPU.
    pub fn new(snapshot: &Snapshot, gpu: &Gpu, letters: &Letters) -> Self {
        let parts = snapshot.parts_of(gpu);
        let owners: Vec<Owner> = parts
            .iter()
            .map(|part| Owner {
                letter: letters.of(&part.slice.record.id),
                guaranteed: part.guaranteed_units(&gpu.grid),
                runs_on: part.units(&gpu.grid),
            })
            .collect();
        Self {
            grid: gpu.grid,
            marks: (0..gpu.grid.active_units).map(|bit| mark(&owners, bit)).collect(),
        }
    }

    /// One unit.
    pub fn at(&self, unit: UnitAddress) -> Mark {
        let bit = self.grid.bit_of_unit(unit) as usize;
        self.marks.get(bit).copied().unwrap_or(Mark::Absent)
    }

    /// A row of slots for each column of an XCC.
    pub fn columns_of(&self, xcc: u32) -> Vec<Vec<Mark>> {
        self.columns(|column, slot| self.at(UnitAddress { xcc, column, slot }))
    }

    /// A row of slots for each column, all XCCs in one.
    pub fn merged_columns(&self) -> Vec<Vec<Mark>> {
        self.columns(|column, slot| {
            let mut marks = (0..self.grid.xccs).map(|xcc| self.at(UnitAddress { xcc, column, slot }));
            let first = marks.next().unwrap_or(Mark::Absent);
            if marks.all(|mark| mark == first) {
                first
            } else {
                Mark::Differs
            }
        })
    }

    fn columns(&self, mark: impl Fn(u32, u32) -> Mark) -> Vec<Vec<Mark>> {
        let slots = |column| (0..self.grid.slots).map(|slot| mark(column, slot)).collect();
        (0..self.grid.columns()).map(slots).collect()
    }
}

fn mark(owners: &[Owner], bit: u32) -> Mark {
    if let Some(owner) = owners.iter().find(|owner| owner.guaranteed.get(bit)) {
        return Mark::Guaranteed(owner.letter);
    }
    let mut running = owners.iter().filter(|owner| owner.runs_on.get(bit));
    match (running.next(), running.next()) {
        (None, _) => Mark::Idle,
        (Some(owner), None) => Mark::Lent(owner.letter),
        (Some(_), Some(_)) => Mark::Shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures::{add_slice, empty_node};

    fn text(columns: &[Vec<Mark>]) -> Vec<String> {
        let line = |column: &Vec<Mark>| column.iter().map(|mark| mark.symbol()).collect();
        columns.iter().map(line).collect()
    }

    fn map(node: &Snapshot) -> UnitMap {
        let mut letters = Letters::default();
        letters.update(node);
        UnitMap::new(node, &node.inventory.gpus[0], &letters)
    }

    #[test]
    fn guarantees_are_capitals_and_what_is_lent_is_small() {
        let mut node = empty_node(1);
        add_slice(&mut node, ("one", "memory=1Gi compute=250m"), 0);
        add_slice(&mut node, ("two", "memory=1Gi"), 0);
        // Two engines of an MI300X's XCC have a tenth unit. Which ones the kernel does not say; here, the first two.
        assert_eq!(
            text(&map(&node).merged_columns()),
            ["AAAAAAAAAb", "bbbbbbbbbb", "bbbbbbbbb ", "bbbbbbbbb "]
        );
        add_slice(&mut node, ("three", "memory=1Gi"), 0);
        assert_eq!(text(&map(&node).columns_of(7))[1], "++++++++++");
    }

    #[test]
    fn xccs_that_differ_are_said_to_and_shown_apart() {
        let mut node = empty_node(1);
        add_slice(&mut node, ("one", "memory=1Gi compute=250m"), 0);
        let mut mask = CuMask::empty(304);
        mask.set(node.inventory.gpus[0].grid.bit_of_unit(UnitAddress {
            xcc: 3,
            column: 2,
            slot: 1,
        }));
        node.slices[0].live.in_force[0].mask = mask;
        let map = map(&node);
        assert_eq!(text(&map.merged_columns())[2], ".*....... ");
        assert_eq!(text(&map.columns_of(3))[2], ".a....... ");
        assert_eq!(text(&map.columns_of(2))[2], "......... ");
    }
}
