//! Which compute units a CU mask reaches: the device's side of SET_CU_MASK.
//!
//! Written from `mqd_symmetrically_map_cu_mask()` and `pqm_update_mqd()` of Linux (drivers/gpu/drm/amd/amdkfd,
//! kfd_mqd_manager.c and kfd_process_queue_manager.c), and apart from the code that makes masks, so that tests can
//! hold one against the other.
//!
//! Every XCC takes each `xccs`-th bit of the mask, beginning with its own number. Within an XCC the bits go to the
//! shader engines in turn, then to the arrays of an engine, then to the next CU slot; an array whose active units
//! are used up is passed over. From gfx10 on a turn is two neighbouring bits, one workgroup processor.

use serde::Serialize;

/// CU slots of a shader array that the kernel's loop visits.
const SLOTS_PER_ARRAY: u32 = 16;

/// Most mask bits that the kernel keeps (`max_num_cus` in `kfd_ioctl_set_cu_mask()`).
pub const MAX_MASK_BITS: u32 = 1024;

/// The compute units of a GPU: every XCC has the same shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// XCCs.
    pub xccs: u32,
    /// Active compute units by shader engine of an XCC, then by array of the engine.
    pub active: Vec<Vec<u32>>,
    /// Compute units work in pairs (gfx10 and later).
    pub paired: bool,
}

impl Geometry {
    /// A geometry whose active units are spread as evenly as can be: the first engines have one more (one pair more)
    /// where they cannot be equal. `engines` are those of one XCC, `active_per_xcc` its active units.
    pub fn even(xccs: u32, (engines, arrays): (u32, u32), active_per_xcc: u32, paired: bool) -> Self {
        let unit = if paired { 2 } else { 1 };
        let (columns, turns) = ((engines * arrays).max(1), active_per_xcc / unit);
        let units = |column: u32| (turns / columns + u32::from(column < turns % columns)) * unit;
        let active = (0..engines)
            .map(|engine| (0..arrays).map(|array| units(array * engines + engine)).collect())
            .collect();
        Self { xccs, active, paired }
    }

    /// Active compute units of all XCCs.
    pub fn units(&self) -> u32 {
        self.xccs * self.active.iter().flatten().sum::<u32>()
    }

    fn arrays(&self) -> usize {
        self.active.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Compute units that a queue reaches: by XCC, then by shader engine, the numbers of the units
/// (array × 16 + slot).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reach(pub Vec<Vec<Vec<u32>>>);

impl Reach {
    /// Everything: what a queue without a mask reaches.
    pub fn all(geometry: &Geometry) -> Self {
        map(geometry, &vec![u32::MAX; MAX_MASK_BITS as usize / 32])
    }

    /// Compute units reached.
    pub fn units(&self) -> u32 {
        self.0.iter().flatten().map(|engine| engine.len() as u32).sum()
    }

    /// XCCs that have no unit in the mask. The hardware does not restrict such an XCC at all, or hangs.
    pub fn uncovered(&self) -> Vec<u32> {
        (0..)
            .zip(&self.0)
            .filter(|(_, xcc)| xcc.iter().all(Vec::is_empty))
            .map(|(number, _)| number)
            .collect()
    }

    /// Units that count: workgroups go to XCCs and to engines in turn, so that the one with the fewest sets the pace.
    /// `xccs × min over XCCs of (engines in use × fewest units in an engine in use)`.
    pub fn effective_units(&self) -> u32 {
        let of_xcc = |xcc: &Vec<Vec<u32>>| {
            let used = || xcc.iter().map(Vec::len).filter(|units| *units > 0);
            (used().count() * used().min().unwrap_or(0)) as u32
        };
        self.0.iter().map(of_xcc).min().unwrap_or(0) * self.0.len() as u32
    }
}

/// Whether every pair of bits is equal, which GPUs with paired units demand.
pub fn pairs_are_whole(words: &[u32]) -> bool {
    words.iter().all(|word| (word ^ (word >> 1)) & 0x5555_5555 == 0)
}

/// The compute units that the mask `words` (lowest bits first) reaches.
pub fn map(geometry: &Geometry, words: &[u32]) -> Reach {
    Reach(
        (0..geometry.xccs)
            .map(|xcc| map_xcc(geometry, words, xcc))
            .collect(),
    )
}

fn map_xcc(geometry: &Geometry, words: &[u32], xcc: u32) -> Vec<Vec<u32>> {
    let width = if geometry.paired { 2 } else { 1 };
    let bits = (words.len() as u32 * 32).min(MAX_MASK_BITS).min(geometry.units());
    let is_set = |bit: u32| {
        words
            .get(bit as usize / 32)
            .is_some_and(|word| word >> (bit % 32) & 1 == 1)
    };
    let mut reached = vec![Vec::new(); geometry.active.len()];
    let mut bit = xcc;
    for slot in (0..SLOTS_PER_ARRAY).step_by(width as usize) {
        for (engine, array) in places(geometry, slot) {
            if bit >= bits {
                return reached;
            }
            if (bit..bit + width).any(is_set) {
                let first = array as u32 * SLOTS_PER_ARRAY + slot;
                reached[engine].extend(first..first + width);
            }
            bit += width * geometry.xccs;
        }
    }
    reached
}

/// Engine and array of every active unit at `slot`, in the order in which the kernel deals out bits.
fn places(geometry: &Geometry, slot: u32) -> impl Iterator<Item = (usize, usize)> + '_ {
    let of_array = move |array: usize| {
        let has = move |units: &Vec<u32>| units.get(array).is_some_and(|active| *active > slot);
        geometry
            .active
            .iter()
            .enumerate()
            .filter(move |(_, units)| has(units))
            .map(move |(e, _)| (e, array))
    };
    (0..geometry.arrays()).flat_map(of_array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mi300x() -> Geometry {
        Geometry::even(8, (4, 1), 38, false)
    }

    fn first_bits(count: u32) -> Vec<u32> {
        (0..32)
            .map(|word| {
                (0..32)
                    .filter(|bit| word * 32 + bit < count)
                    .map(|bit| 1 << bit)
                    .sum()
            })
            .collect()
    }

    #[test]
    fn an_mi300x_has_304_units_in_engines_of_10_and_9() {
        assert_eq!(mi300x().units(), 304);
        assert_eq!(mi300x().active, [[10], [10], [9], [9]]);
    }

    #[test]
    fn effective_units_are_those_of_the_published_figures() {
        let expected = [
            (30, 24),
            (32, 32),
            (38, 32),
            (64, 64),
            (76, 64),
            (128, 128),
            (152, 128),
            (228, 224),
            (256, 256),
            (288, 288),
            (304, 288),
        ];
        for (bits, effective) in expected {
            let reach = map(&mi300x(), &first_bits(bits));
            assert_eq!(reach.units(), bits, "{bits} bits");
            assert_eq!(reach.effective_units(), effective, "{bits} bits");
        }
    }

    #[test]
    fn bit_b_goes_to_xcc_b_mod_8_then_to_the_next_engine() {
        let reach = map(&mi300x(), &[1 << 11]);
        assert_eq!(reach.0[3], vec![vec![], vec![0], vec![], vec![]]);
        assert_eq!(reach.units(), 1);
        assert_eq!(reach.uncovered(), [0, 1, 2, 4, 5, 6, 7]);
    }

    #[test]
    fn the_tenth_slot_passes_over_engines_with_nine_units() {
        let mut words = vec![0; 10];
        words[9] = 0x0000_ff00;
        let reach = map(&mi300x(), &words);
        assert_eq!(reach.0[0], vec![vec![], vec![9], vec![], vec![]]);
    }

    #[test]
    fn whole_engines_deliver_every_slot() {
        let words = vec![0x0000_ffff; 9];
        assert_eq!(map(&mi300x(), &words).effective_units(), 144);
    }

    #[test]
    fn a_partition_has_stride_one() {
        let cpx = Geometry::even(1, (4, 1), 38, false);
        assert_eq!(
            map(&cpx, &[0b10_0001, 0]).0,
            vec![vec![vec![0], vec![1], vec![], vec![]]]
        );
        assert_eq!(Reach::all(&cpx).units(), 38);
    }

    #[test]
    fn from_gfx10_on_units_come_in_pairs_over_engines_then_arrays() {
        let navi31 = Geometry::even(1, (6, 2), 96, true);
        let reach = map(&navi31, &[0b11 | 0b11 << 12, 0, 0]);
        assert_eq!(reach.0[0][0], [0, 1, 16, 17]);
        assert_eq!(reach.units(), 4);
        assert!(pairs_are_whole(&[0xf00f]));
        assert!(!pairs_are_whole(&[0b0110]));
    }

    #[test]
    fn bits_past_the_active_units_are_dropped() {
        assert_eq!(map(&mi300x(), &[u32::MAX; 32]).units(), 304);
        assert_eq!(Reach::all(&mi300x()).effective_units(), 288);
    }
}
