//! CU masks in the kernel's bit order.

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

/// A CU mask: words of 32 bits, lowest bits first, always a whole number of words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CuMask(SmallVec<[u32; INLINE_WORDS]>);

/// Words that need no memory of their own: those of the largest GPU there is, of 304 compute units.
const INLINE_WORDS: usize = 10;

/// Bits of a word: SET_CU_MASK takes multiples of 32 only.
const WORD: u32 = u32::BITS;

impl CuMask {
    /// A mask from its words, lowest bits first.
    pub fn from_words(words: impl IntoIterator<Item = u32>) -> Self {
        Self(words.into_iter().collect())
    }

    /// The words, lowest bits first.
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// No bit set, room for `bits`, rounded up to whole words.
    pub fn empty(bits: u32) -> Self {
        Self(smallvec![0; bits.div_ceil(WORD) as usize])
    }

    /// The lowest `bits` bits set: what a mask "in order" is.
    pub fn lowest(bits: u32) -> Self {
        let words = (0..bits.div_ceil(WORD)).map(|word| match bits - word * WORD {
            left if left >= WORD => u32::MAX,
            left => (1 << left) - 1,
        });
        Self(words.collect())
    }

    /// Number of bits that SET_CU_MASK is told: a multiple of 32.
    pub fn bits(&self) -> u32 {
        self.0.len() as u32 * WORD
    }

    /// Whether a bit is set; bits beyond the last word are not.
    pub fn get(&self, bit: u32) -> bool {
        self.0
            .get((bit / WORD) as usize)
            .is_some_and(|word| word >> (bit % WORD) & 1 == 1)
    }

    /// Sets a bit. The mask grows where it has to.
    pub fn set(&mut self, bit: u32) {
        let word = (bit / WORD) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (bit % WORD);
        }
    }

    /// Bits that are set.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no bit is set. A mask without words says the same.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Bits of either. As long as the longer one.
    pub fn union(&self, other: &Self) -> Self {
        let bits = self.bits().max(other.bits());
        self.combine(bits, other, |a, b| a | b)
    }

    /// Bits of both. As long as this one.
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(self.bits(), other, |a, b| a & b)
    }

    /// Bits of this one that the other has not. As long as this one.
    pub fn without(&self, other: &Self) -> Self {
        self.combine(self.bits(), other, |a, b| a & !b)
    }

    /// Whether the two have a bit in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether the mask has a unit of each XCC: bit b lies on XCC b % `xccs`. An XCC without one is not restricted at all.
    pub fn covers(&self, xccs: u32) -> bool {
        let bits = || (0..self.bits()).filter(|&bit| self.get(bit));
        (0..xccs).all(|xcc| bits().any(|bit| bit % xccs == xcc))
    }

    fn combine(&self, bits: u32, other: &Self, by: impl Fn(u32, u32) -> u32) -> Self {
        let word = |mask: &Self, at: usize| mask.0.get(at).copied().unwrap_or(0);
        let words = (0..(bits / WORD) as usize).map(|at| by(word(self, at), word(other, at)));
        Self(words.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::CuMask;

    #[test]
    fn lowest_bits_are_rounded_up_to_words() {
        assert_eq!(CuMask::lowest(0).words(), &[] as &[u32]);
        assert_eq!(CuMask::lowest(38).words(), &[u32::MAX, 0x3f]);
        assert_eq!(CuMask::lowest(64).words(), &[u32::MAX, u32::MAX]);
        assert_eq!(CuMask::lowest(304).bits(), 320);
        assert_eq!(CuMask::lowest(304).count(), 304);
    }

    #[test]
    fn every_xcc_has_to_have_a_unit() {
        assert!(CuMask::lowest(8).covers(8) && !CuMask::lowest(7).covers(8));
        assert!(CuMask::from_words(vec![0x0f, 0xf0]).covers(8));
        assert!(CuMask::from_words(vec![0, 2]).covers(1) && !CuMask::empty(32).covers(1));
    }

    #[test]
    fn set_algebra() {
        let mut far = CuMask::empty(32);
        far.set(3);
        far.set(40);
        assert_eq!(far.words(), &[8, 0x100]);
        assert!(far.get(40) && !far.get(41) && !far.get(4000));
        let low = CuMask::lowest(4);
        assert_eq!(low.union(&far).words(), &[15, 0x100]);
        assert_eq!(low.intersection(&far).words(), &[8]);
        assert_eq!(far.intersection(&low).words(), &[8, 0]);
        assert_eq!(far.without(&low).words(), &[0, 0x100]);
        assert!(far.overlaps(&low) && !far.without(&low).overlaps(&low));
    }
}
