//! Amounts of memory that nobody means: `20` is 20 bytes. What was meant instead is a guess, and only said. Pure.

use super::quantity::Quantity;

/// The least amount of memory that can be asked for, in bytes: the block in which ROCr takes device memory. In less, no
/// program gets a byte. Source: ROCr, `MemoryRegion::BlockAllocator` (2 MiB), and hipMalloc in slices of 1 and 2 MiB.
pub const LEAST_MEMORY: u64 = 2 << 20;

/// A number without a unit is GiB as long as a GPU may have so many, then MiB, as other tools count.
const GIB_BELOW: u64 = 512;
/// From here on it is more MiB than any GPU has, so KiB.
const KIB_FROM: u64 = 512 << 10;

/// What was probably meant by an amount below [`LEAST_MEMORY`], none where no guess is large enough.
pub fn likely_memory(text: &str) -> Option<String> {
    let (number, unit) = match text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len()) {
        // `1e3`, a number as it is; its exponent leaves no room for a unit.
        (number, "") if number.contains(['e', 'E']) => {
            (Quantity::parse(number).ok()?.rounded_up()?.to_string(), "")
        }
        (number, unit) => (number.to_owned(), unit),
    };
    let guesses: &[&str] = match unit {
        "" | "n" | "u" => by_size(&number),
        "m" | "k" | "Ki" => &["Mi", "Gi"],
        "M" | "Mi" => &["Gi"],
        _ => &[],
    };
    let guesses = guesses.iter().map(|unit| format!("{number}{unit}"));
    guesses
        .into_iter()
        .find(|guess| bytes(guess).is_some_and(|bytes| bytes >= LEAST_MEMORY))
}

fn by_size(number: &str) -> &'static [&'static str] {
    match bytes(number) {
        Some(0..GIB_BELOW) => &["Gi"],
        Some(GIB_BELOW..KIB_FROM) => &["Mi"],
        _ => &["Ki"],
    }
}

fn bytes(text: &str) -> Option<u64> {
    Quantity::parse(text).ok()?.rounded_up()
}

#[cfg(test)]
mod tests {
    use super::likely_memory;

    #[test]
    fn a_forgotten_or_mistaken_unit_is_guessed() {
        let cases = [
            ("20", "20Gi"),
            ("+20", "+20Gi"),
            ("511", "511Gi"),
            ("512", "512Mi"),
            ("3000", "3000Mi"),
            ("196608", "196608Mi"),
            ("1048576", "1048576Ki"),
            ("0.25", "0.25Gi"),
            (".5", ".5Gi"),
            ("1n", "1Gi"),
            ("500u", "500Gi"),
            ("4096m", "4096Mi"),
            ("1e3", "1000Mi"),
            ("2E1", "20Gi"),
            ("20k", "20Mi"),
            ("1k", "1Gi"),
            ("1000Ki", "1000Mi"),
            ("1Mi", "1Gi"),
            ("0.5M", "0.5Gi"),
        ];
        for (text, meant) in cases {
            assert_eq!(likely_memory(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["0.0001", "0.001Gi", "0.000001Ti"] {
            assert_eq!(likely_memory(text), None, "{text}");
        }
    }
}
