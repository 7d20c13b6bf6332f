//! Address ranges that are charged to a GPU (SVM). Pure, but for the array's memory.

use crate::array::Array;

/// `start..end` is charged to a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address beyond.
    pub end: u64,
    /// Index of the GPU in the limits page.
    pub gpu: usize,
}

/// Ranges in the order of their addresses, none overlapping another; all zero is an empty set.
#[derive(Default)]
pub struct Ranges {
    ranges: Array<Range>,
}

impl Ranges {
    /// An empty set.
    pub const fn new() -> Self {
        Self { ranges: Array::new() }
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[Range] {
        self.ranges.as_slice()
    }

    /// Bytes of `start..end` that are charged to `gpu` already.
    pub fn charged(&self, start: u64, end: u64, gpu: usize) -> u64 {
        let overlaps = self.as_slice().iter().filter(|range| range.gpu == gpu);
        overlaps
            .map(|range| range.end.min(end).saturating_sub(range.start.max(start)))
            .sum()
    }

    /// Makes sure that one [`Ranges::clear`] and one [`Ranges::assign`] will find memory.
    pub fn promise(&mut self) -> bool {
        self.ranges.reserve(3)
    }

    /// Takes `start..end` out, and says of each piece to which GPU and with how many bytes it was charged.
    pub fn clear(&mut self, start: u64, end: u64, mut gone: impl FnMut(usize, u64)) {
        let mut index = self.as_slice().partition_point(|range| range.end <= start);
        while let Some(range) = self
            .as_slice()
            .get(index)
            .copied()
            .filter(|range| range.start < end)
        {
            gone(
                range.gpu,
                range.end.min(end).saturating_sub(range.start.max(start)),
            );
            self.ranges.remove(index);
            if range.start < start {
                self.ranges.insert(index, Range { end: start, ..range });
                index += 1;
            }
            if range.end > end {
                self.ranges.insert(index, Range { start: end, ..range });
                index += 1;
            }
        }
    }

    /// Charges `start..end`, of which nothing is in the set, to `gpu`; neighbours on the same GPU become one.
    pub fn assign(&mut self, start: u64, end: u64, gpu: usize) {
        let mut added = Range { start, end, gpu };
        let mut index = self.as_slice().partition_point(|range| range.end <= start);
        let before = index
            .checked_sub(1)
            .and_then(|before| self.as_slice().get(before).copied());
        if let Some(before) = before.filter(|before| before.end == start && before.gpu == gpu) {
            added.start = before.start;
            index -= 1;
            self.ranges.remove(index);
        }
        let after = self.as_slice().get(index).copied();
        if let Some(after) = after.filter(|after| after.start == end && after.gpu == gpu) {
            added.end = after.end;
            self.ranges.remove(index);
        }
        self.ranges.insert(index, added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a model that holds one charge for every address.
        #[test]
        fn behaves_as_one_charge_an_address(
            steps in prop::collection::vec((0..60u64, 1..20u64, prop::option::of(0..3usize)), 1..60),
        ) {
            let mut ranges = Ranges::new();
            let mut model = [None; 100];
            for (start, length, gpu) in steps {
                let end = start + length;
                let addresses = start as usize..end as usize;
                for gpu in 0..3 {
                    let expected = model[addresses.clone()].iter().filter(|charge| **charge == Some(gpu)).count();
                    prop_assert_eq!(ranges.charged(start, end, gpu), expected as u64);
                }
                prop_assert!(ranges.promise());
                let mut gone = [0; 3];
                ranges.clear(start, end, |gpu, bytes| gone[gpu] += bytes as usize);
                for (gpu, gone) in gone.iter().enumerate() {
                    let expected = model[addresses.clone()].iter().filter(|charge| **charge == Some(gpu)).count();
                    prop_assert_eq!(*gone, expected);
                }
                model[addresses].fill(gpu);
                if let Some(gpu) = gpu {
                    ranges.assign(start, end, gpu);
                }
                let mut seen = [None; 100];
                for range in ranges.as_slice() {
                    seen[range.start as usize..range.end as usize].fill(Some(range.gpu));
                }
                prop_assert_eq!(seen, model);
                for pair in ranges.as_slice().windows(2) {
                    prop_assert!(pair[0].end < pair[1].start || pair[0].end == pair[1].start && pair[0].gpu != pair[1].gpu);
                }
            }
        }
    }
}
