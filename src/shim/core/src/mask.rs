//! CU masks: which compute units a queue gets of those that its slice has. Pure.

use sdg_abi::limits::MASK_WORDS;

/// A CU mask as SET_CU_MASK takes it; words beyond `bits` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Number of bits sent to the KFD, a multiple of 32; 0 means no mask.
    pub bits: u32,
    /// Words, lowest bits first.
    pub words: [u32; MASK_WORDS],
}

impl Mask {
    /// No mask: every compute unit.
    pub const NONE: Self = Self {
        bits: 0,
        words: [0; MASK_WORDS],
    };

    /// A mask that names every compute unit, for a queue that had a smaller one.
    pub const ALL: Self = Self {
        bits: MASK_WORDS as u32 * 32,
        words: [u32::MAX; MASK_WORDS],
    };

    /// A mask of `bits` bits, `words` cut or filled up with zero to that length.
    pub fn new(bits: u32, words: &[u32]) -> Self {
        let mut mask = Self {
            bits: bits.min(MASK_WORDS as u32 * 32),
            ..Self::NONE
        };
        let count = mask.bits.div_ceil(32) as usize;
        for (to, from) in mask.words.iter_mut().zip(words).take(count) {
            *to = *from;
        }
        mask
    }

    /// Number of compute units.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the mask reaches at least one compute unit of each XCC (bit b lies on XCC b % `xcc_count`). An XCC that a
    /// mask leaves out is not restricted at all, or hangs.
    pub fn covers(&self, xcc_count: u32) -> bool {
        let xcc_count = xcc_count.max(1);
        let mut uncovered = xcc_count;
        let mut seen = [0u32; MASK_WORDS];
        let mut xcc = 0;
        for word in self.words {
            for bit in 0..32 {
                let mark = seen.get_mut((xcc / 32) as usize);
                if let Some(mark) = mark.filter(|mark| word >> bit & 1 == 1 && **mark >> (xcc % 32) & 1 == 0)
                {
                    *mark |= 1 << (xcc % 32);
                    uncovered = uncovered.saturating_sub(1);
                }
                xcc = if xcc + 1 == xcc_count { 0 } else { xcc + 1 };
            }
        }
        uncovered == 0
    }
}

/// The mask that a queue gets: what the program wishes, within the slice.
///
/// A wish that would leave an XCC without a compute unit of the slice cannot be had: the queue gets the whole slice, as if
/// nothing had been wished.
pub fn within(slice: &Mask, xcc_count: u32, wish: Option<&Mask>) -> Mask {
    let Some(wish) = wish else { return *slice };
    if slice.bits == 0 {
        return *wish;
    }
    let mut both = *slice;
    for (word, wished) in both.words.iter_mut().zip(wish.words) {
        *word &= wished;
    }
    if both.covers(xcc_count) { both } else { *slice }
}

/// Reads `ROC_GLOBAL_CU_MASK`: hexadecimal digits, highest first, with or without `0x`.
pub fn parse_global(text: &[u8]) -> Option<Mask> {
    let digits = text
        .strip_prefix(b"0x")
        .or_else(|| text.strip_prefix(b"0X"))
        .unwrap_or(text);
    let mut mask = Mask {
        bits: MASK_WORDS as u32 * 32,
        ..Mask::NONE
    };
    for (index, digit) in digits.iter().rev().enumerate() {
        let value = (*digit as char).to_digit(16)?;
        // Zeros in front of the highest word do not matter.
        match mask.words.get_mut(index / 8) {
            Some(word) => *word |= value << (index % 8 * 4),
            None if value == 0 => {}
            None => return None,
        }
    }
    (!digits.is_empty()).then_some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(words: &[u32]) -> Mask {
        Mask::new(words.len() as u32 * 32, words)
    }

    #[test]
    fn a_mask_must_reach_every_xcc() {
        assert!(mask(&[0xff]).covers(8));
        assert!(mask(&[0x0f, 0xf0]).covers(8));
        assert!(!mask(&[0x7f]).covers(8));
        assert!(!mask(&[0x7f7f_7f7f; 10]).covers(8));
        assert!(mask(&[1]).covers(1));
        assert!(mask(&[1]).covers(0));
        assert!(!mask(&[0, 0]).covers(1));
        // 6 XCCs: bit 32 lies on XCC 2.
        assert!(mask(&[0b11_1011, 1]).covers(6));
        assert!(!mask(&[0b11_1011, 2]).covers(6));
        assert!(mask(&[u32::MAX; MASK_WORDS]).covers(1024));
        assert!(!mask(&[u32::MAX; MASK_WORDS]).covers(1025));
    }

    #[test]
    fn coverage_agrees_with_counting_every_bit() {
        for xcc_count in 1..40u32 {
            for seed in 0..200u64 {
                let random = |n: u64| (seed * 7 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let words: [u32; 3] = core::array::from_fn(|n| {
                    (random(n as u64) >> 32) as u32 & (random(n as u64 + 50) >> 32) as u32
                });
                let expected = (0..xcc_count).all(|xcc| {
                    (0..96)
                        .any(|bit| bit % xcc_count == xcc && words[bit as usize / 32] >> (bit % 32) & 1 == 1)
                });
                assert_eq!(
                    mask(&words).covers(xcc_count),
                    expected,
                    "{xcc_count} XCCs, {words:x?}"
                );
            }
        }
    }

    #[test]
    fn a_wish_is_kept_within_the_slice() {
        let slice = mask(&[0xffff_ffff, 0xffff_ffff, 0]);
        assert_eq!(within(&slice, 8, None), slice);
        let wish = mask(&[0, 0x0000_ffff, 0xffff_ffff, 0xffff_ffff]);
        assert_eq!(within(&slice, 8, Some(&wish)), mask(&[0, 0x0000_ffff, 0]));
        // Shorter than the slice's mask: what is not named is not wished.
        assert_eq!(within(&slice, 8, Some(&mask(&[0xff]))), mask(&[0xff, 0, 0]));
    }

    #[test]
    fn a_wish_that_leaves_an_xcc_out_gets_the_slice() {
        let slice = mask(&[0xffff_ffff, 0, 0]);
        assert_eq!(within(&slice, 8, Some(&mask(&[0x7f, u32::MAX, 0]))), slice);
        assert_eq!(within(&slice, 8, Some(&mask(&[0, u32::MAX, u32::MAX]))), slice);
    }

    #[test]
    fn a_whole_gpu_restricts_nothing() {
        let wish = mask(&[0xff]);
        assert_eq!(within(&Mask::NONE, 8, Some(&wish)), wish);
        assert_eq!(within(&Mask::NONE, 8, None), Mask::NONE);
    }

    #[test]
    fn the_environment_s_mask_is_read() {
        let full = |words: &[u32]| Some(Mask::new(1024, words));
        assert_eq!(parse_global(b"0xffffffff"), full(&[u32::MAX]));
        assert_eq!(parse_global(b"0x1ffffffff"), full(&[u32::MAX, 1]));
        assert_eq!(parse_global(b"F0"), full(&[0xf0]));
        assert_eq!(parse_global(b""), None);
        assert_eq!(parse_global(b"0x"), None);
        assert_eq!(parse_global(b"0xfg"), None);
        assert_eq!(parse_global(&[b'0'; 300]), full(&[]));
        assert_eq!(parse_global(&[b'1'; 300]), None);
    }
}
