//! What a mask delivers: the model of how the hardware's dispatcher spreads work.

use super::grid::{CuGrid, MAX_COLUMNS};
use super::mask::CuMask;

impl CuGrid {
    /// Compute units that a mask delivers: `XCCs × min over XCCs of (active engines × fewest units in an active
    /// engine)`. 0 where an XCC has none.
    ///
    /// The dispatcher goes round-robin over XCCs and over their shader engines, so the least covered one sets the
    /// pace. The model is inferred; it agrees with every figure published for MI300X. Units of the ragged tail are
    /// taken to lie in the first engines, which is exact wherever the rows below are full.
    pub fn effective_units(&self, mask: &CuMask) -> u32 {
        let weakest = (0..self.xccs).map(|xcc| self.delivered_by_xcc(mask, xcc)).min();
        self.xccs * weakest.unwrap_or(0)
    }

    fn delivered_by_xcc(&self, mask: &CuMask, xcc: u32) -> u32 {
        let mut units = [0; MAX_COLUMNS as usize];
        let pair = self.slots_per_row();
        for step in (xcc..self.active_units.div_ceil(pair)).step_by(self.xccs as usize) {
            let bits = (step * pair..(step + 1) * pair).filter(|&bit| bit < self.active_units);
            // Either bit of a pair enables both units.
            if bits.clone().any(|bit| mask.get(bit)) {
                let engine = self.unit_of_bit(step * pair).column % self.engines;
                if let Some(units) = units.get_mut(engine as usize) {
                    *units += bits.count() as u32;
                }
            }
        }
        let active = units.iter().filter(|&&units| units > 0);
        let fewest = active.clone().min().copied().unwrap_or(0);
        active.count() as u32 * fewest
    }

    /// Compute units that a rectangle of `columns` × `slots` delivers, wherever it lies.
    ///
    /// With several arrays in an engine, columns beyond the number of engines give some engines a second array:
    /// they count only once every engine has it.
    pub fn effective_rect_units(&self, columns: u32, slots: u32) -> u32 {
        let even = if columns <= self.engines {
            columns
        } else {
            columns - columns % self.engines
        };
        even * slots * self.xccs
    }
}
