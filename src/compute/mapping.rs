//! Which mask bit is which compute unit.
//!
//! Source: `mqd_symmetrically_map_cu_mask()` in Linux, `kfd_mqd_manager.c`. It walks CU slots, in a slot the arrays,
//! in an array the engines; an XCC takes every `num_xcc`th bit. From gfx10 on a step takes two bits and two slots.

use super::grid::{CuGrid, CuRect};
use super::mask::CuMask;

/// Where a mask bit lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitAddress {
    /// XCC.
    pub xcc: u32,
    /// Column of the XCC: `array × engines + engine`.
    pub column: u32,
    /// CU slot. From [`CuGrid::rows`] on the column is not sure: the kernel skips columns without such a unit.
    pub slot: u32,
}

impl CuGrid {
    /// Where a bit lies.
    pub fn unit_of_bit(&self, bit: u32) -> UnitAddress {
        let pair = self.slots_per_row();
        let step = bit / pair;
        let of_xcc = step / self.xccs;
        UnitAddress {
            xcc: step % self.xccs,
            column: of_xcc % self.columns(),
            slot: of_xcc / self.columns() * pair + bit % pair,
        }
    }

    /// The bit of a unit; the inverse of [`Self::unit_of_bit`].
    pub fn bit_of_unit(&self, unit: UnitAddress) -> u32 {
        let pair = self.slots_per_row();
        let of_xcc = unit.slot / pair * self.columns() + unit.column;
        (of_xcc * self.xccs + unit.xcc) * pair + unit.slot % pair
    }

    /// Every unit that works, those of the ragged tail included.
    pub fn full_mask(&self) -> CuMask {
        CuMask::lowest(self.active_units)
    }

    /// The units of the ragged tail: those that no rectangle reaches.
    pub fn tail_mask(&self) -> CuMask {
        self.full_mask()
            .without(&CuMask::lowest(self.deliverable_units()))
    }

    /// Whether the ragged tail alone has a unit on every XCC: its bits follow one another, XCC by XCC.
    pub fn tail_covers_every_xcc(&self) -> bool {
        self.active_units.saturating_sub(self.deliverable_units()) >= self.xccs
    }

    /// The units of a rectangle, on every XCC. What reaches out of the grid's sure rows is left out.
    pub fn rect_mask(&self, rect: &CuRect) -> CuMask {
        let mut mask = CuMask::empty(self.active_units);
        for slot in rect.slot..(rect.slot + rect.slots).min(self.rows()) {
            for column in rect.engine..(rect.engine + rect.engines).min(self.columns()) {
                for xcc in 0..self.xccs {
                    mask.set(self.bit_of_unit(UnitAddress { xcc, column, slot }));
                }
            }
        }
        mask
    }

    /// Every working unit that a mask has not.
    pub fn complement(&self, mask: &CuMask) -> CuMask {
        self.full_mask().without(mask)
    }

    /// Whether a mask has a unit on every XCC. One that leaves an XCC out does not restrict that XCC at all, or hangs.
    pub fn covers_every_xcc(&self, mask: &CuMask) -> bool {
        let working = mask.intersection(&self.full_mask());
        (0..self.xccs)
            .all(|xcc| (0..self.active_units).any(|bit| self.unit_of_bit(bit).xcc == xcc && working.get(bit)))
    }
}
