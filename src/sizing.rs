//! What a slice's past says about its size. Pure.

use crate::units::Bytes;

/// From here on sizes are given in whole GiB, below in quarters.
const LARGE: u64 = 4 << 30;

/// What the processes of a slice used and wanted until now, on the GPU where most was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Highest use, in bytes.
    pub peak: u64,
    /// Memory never exceeded, in bytes.
    pub limit: u64,
    /// Allocations refused for that limit.
    pub refused: u64,
}

impl History {
    /// Bytes that would have been enough; none where nothing was used, or more was wanted than there was.
    pub fn suggestion(&self) -> Option<u64> {
        (self.refused == 0 && self.peak > 0).then(|| enough_for(self.peak))
    }

    /// A line for people: `peak 13.1Gi of 20Gi: 14Gi would do`. None where nothing was used or refused.
    pub fn advice(&self) -> Option<String> {
        let enough = enough_for(self.peak);
        let end = match self.refused {
            0 if self.peak == 0 => return None,
            0 if enough < self.limit => format!(": {} would do", Bytes(enough)),
            0 => String::new(),
            1 => "; an allocation was refused: it would use more".to_owned(),
            count => format!("; {count} allocations were refused: it would use more"),
        };
        Some(format!("peak {} of {}{end}", Bytes(self.peak), Bytes(self.limit)))
    }
}

/// A twentieth more than the peak, rounded up: the next run may need a little more.
fn enough_for(peak: u64) -> u64 {
    let with_margin = peak.saturating_add(peak / 20);
    let step = if with_margin >= LARGE { 1 << 30 } else { 256 << 20 };
    with_margin.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(peak: u64, limit: u64, refused: u64) -> Option<String> {
        History { peak, limit, refused }.advice()
    }

    #[test]
    fn the_past_says_what_would_do() {
        const GI: u64 = 1 << 30;
        let cases = [
            ((0, 20 * GI, 0), None),
            (
                (13 * GI + GI / 10, 20 * GI, 0),
                Some("peak 13.09Gi of 20Gi: 14Gi would do"),
            ),
            (
                (13 * GI + GI / 2, 20 * GI, 0),
                Some("peak 13.5Gi of 20Gi: 15Gi would do"),
            ),
            ((19 * GI + GI / 2, 20 * GI, 0), Some("peak 19.5Gi of 20Gi")),
            ((GI, 2 * GI, 0), Some("peak 1Gi of 2Gi: 1.25Gi would do")),
            (
                (GI, 2 * GI, 1),
                Some("peak 1Gi of 2Gi; an allocation was refused: it would use more"),
            ),
            (
                (0, 2 * GI, 7),
                Some("peak 0 of 2Gi; 7 allocations were refused: it would use more"),
            ),
        ];
        for ((peak, limit, refused), line) in cases {
            assert_eq!(advice(peak, limit, refused).as_deref(), line);
        }
    }

    #[test]
    fn what_was_refused_leaves_no_suggestion() {
        let suggestion = |peak, refused| {
            History {
                peak,
                limit: 2 << 30,
                refused,
            }
            .suggestion()
        };
        assert_eq!(suggestion(1 << 30, 0), Some(5 << 28));
        assert_eq!((suggestion(0, 0), suggestion(1 << 30, 1)), (None, None));
        // A page that a container has scribbled on is no reason to overflow.
        assert!(suggestion(u64::MAX, 0).is_some());
    }
}
