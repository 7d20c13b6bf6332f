//! Sizes and time spans for people.

use std::fmt;

/// A number of bytes, printed as Kubernetes writes it: `20Gi`, `191.98Gi`, `512Mi`. At most two decimals, cut and not
/// rounded, so that what a message calls free can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Binary suffixes, largest first, with the power of two each stands for.
const SUFFIXES: [(&str, u32); 6] = [
    ("Ei", 60),
    ("Pi", 50),
    ("Ti", 40),
    ("Gi", 30),
    ("Mi", 20),
    ("Ki", 10),
];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((suffix, power)) = SUFFIXES.into_iter().find(|(_, power)| self.0 >> power > 0) else {
            return write!(f, "{}", self.0);
        };
        let hundredths = (u128::from(self.0) * 100) >> power;
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        match (rest / 10, rest % 10) {
            (0, 0) => write!(f, "{whole}{suffix}"),
            (tenths, 0) => write!(f, "{whole}.{tenths}{suffix}"),
            _ => write!(f, "{whole}.{rest:02}{suffix}"),
        }
    }
}

/// A time span for people: `12s`, `3m`, `2h`, `5d`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, span};

    #[test]
    fn prints_as_kubernetes_writes() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (20 << 30, "20Gi"),
            (206_141_652_992, "191.98Gi"),
            (1536 << 20, "1.5Gi"),
            ((1 << 30) + (1 << 30) / 50, "1.01Gi"),
            (u64::MAX, "15.99Ei"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn time_spans_are_short() {
        assert_eq!([59, 60, 7199, 86_400].map(span), ["59s", "1m", "1h", "1d"]);
    }
}
