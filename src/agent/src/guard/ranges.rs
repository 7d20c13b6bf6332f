//! Ranges of addresses that a process has placed on a GPU: what is placed a second time is charged once.

/// Most pieces that are remembered of a process; one that has more is charged anew.
const MOST: usize = 4096;

/// Ranges that neither touch nor overlap, in order.
#[derive(Clone, Debug, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// How many bytes of `start..end` are not in any range.
    pub fn missing(&self, start: u64, end: u64) -> u64 {
        let overlap = |(from, to): &(u64, u64)| (*to).min(end).saturating_sub((*from).max(start));
        end.saturating_sub(start) - self.0.iter().map(overlap).sum::<u64>()
    }

    /// Adds `start..end`.
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut low, mut high) = (start, end);
        self.0.retain(|(from, to)| {
            let touches = *from <= high && low <= *to;
            if touches {
                (low, high) = (low.min(*from), high.max(*to));
            }
            !touches
        });
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let at = self.0.partition_point(|(from, _)| *from < low);
        self.0.insert(at, (low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_placed_before_is_not_missing() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.missing(10, 20), 10);
        ranges.add(10, 20);
        ranges.add(30, 40);
        assert_eq!(ranges.missing(0, 50), 30);
        assert_eq!(ranges.missing(12, 18), 0);
        ranges.add(15, 35);
        assert_eq!(ranges.missing(0, 50), 20);
        assert_eq!(ranges.0, [(10, 40)]);
        ranges.add(5, 5);
        assert_eq!(ranges.missing(5, 5), 0);
    }

    #[test]
    fn memory_for_them_is_bounded() {
        let mut ranges = Ranges::default();
        (0..10_000).for_each(|page| ranges.add(page * 10, page * 10 + 1));
        assert!(ranges.0.len() <= MOST);
    }
}
