//! Is a mask one that a slice may have? Pure.

/// Whether a mask lies within a slice's and leaves no XCC out: one without a unit is not restricted at all. An empty
/// mask of the slice is a whole GPU's, which may have any.
pub fn is_within(words: &[u32], slice: &[u32], xccs: u32) -> bool {
    if slice.is_empty() {
        return true;
    }
    let inside = words
        .iter()
        .enumerate()
        .all(|(at, word)| word & !slice.get(at).copied().unwrap_or(0) == 0);
    let is_set = |bit: u32| {
        words
            .get(bit as usize / 32)
            .is_some_and(|word| word & (1 << (bit % 32)) != 0)
    };
    let bits = words.len() as u32 * 32;
    let xccs = xccs.max(1);
    inside && (0..xccs).all(|xcc| (xcc..bits).step_by(xccs as usize).any(is_set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_slice_on_every_xcc_will_do() {
        let slice = [0xffff, 0];
        assert!(is_within(&[0xffff], &slice, 8));
        assert!(is_within(&[0xff], &slice, 8));
        assert!(is_within(&[0xff00, 0], &slice, 8));
        assert!(!is_within(&[0x7f], &slice, 8), "an XCC is left out");
        assert!(!is_within(&[0x1_ffff], &slice, 8), "a unit of another slice");
        assert!(!is_within(&[0xff, 1], &slice, 8), "a unit of another slice");
        assert!(!is_within(&[0xff, 0, 1], &slice, 8), "beyond the slice's mask");
        assert!(!is_within(&[], &slice, 8));
        assert!(is_within(&[u32::MAX], &[], 8), "a whole GPU");
    }
}
