//! Kubernetes quantities, exactly.
//!
//! Grammar and suffixes: `k8s.io/apimachinery/pkg/api/resource/quantity.go`. The crate kube_quantity reads the number
//! as an f64, drops decimals when it turns to bytes and rejects `E` and `Ei`; a guarantee must not lose a byte to
//! that, so it only serves the tests as a second opinion.

use std::cmp::Ordering;

/// A non-negative rational number as a quantity gives it: `mantissa × numerator / denominator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    mantissa: u128,
    numerator: u128,
    denominator: u128,
}

/// Why a text is no quantity that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// Not of the form number and suffix.
    Form,
    /// Below zero.
    Negative,
    /// Beyond any memory.
    TooLarge,
}

impl Quantity {
    /// Reads a quantity: `4Gi`, `1.5G`, `500m`, `1e3`, `+7`.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Form);
        }
        let multiplier = Multiplier::parse(suffix)?;
        let fraction = fraction.trim_end_matches('0');
        let mantissa = digits(whole.chars().chain(fraction.chars())).ok_or(QuantityError::TooLarge)?;
        if mantissa == 0 {
            return Ok(Self {
                mantissa: 0,
                numerator: 1,
                denominator: 1,
            });
        }
        if negative {
            return Err(QuantityError::Negative);
        }
        multiplier.times(mantissa, fraction.len())
    }

    /// Whole units, rounded up; none beyond 64 bits.
    pub fn rounded_up(&self) -> Option<u64> {
        // A product beyond 128 bits over a denominator of at most 10^38 / 2^60 may be small in theory; a text of
        // that many digits is not worth more code.
        let product = self.mantissa.checked_mul(self.numerator)?;
        u64::try_from(product.div_ceil(self.denominator)).ok()
    }

    /// Thousandths, if they come out whole.
    pub fn whole_millis(&self) -> Option<u64> {
        let product = self.mantissa.checked_mul(self.numerator)?.checked_mul(1000)?;
        let whole = product.is_multiple_of(self.denominator);
        whole
            .then(|| u64::try_from(product / self.denominator).ok())
            .flatten()
    }
}

/// What a suffix multiplies by: `2^binary × 10^decimal`.
struct Multiplier {
    binary: u32,
    decimal: i64,
}

impl Multiplier {
    fn parse(suffix: &str) -> Result<Self, QuantityError> {
        let (binary, decimal) = match suffix {
            "Ki" => (10, 0),
            "Mi" => (20, 0),
            "Gi" => (30, 0),
            "Ti" => (40, 0),
            "Pi" => (50, 0),
            "Ei" => (60, 0),
            "n" => (0, -9),
            "u" => (0, -6),
            "m" => (0, -3),
            "" => (0, 0),
            "k" => (0, 3),
            "M" => (0, 6),
            "G" => (0, 9),
            "T" => (0, 12),
            "P" => (0, 15),
            "E" => (0, 18),
            exponent => {
                let digits = exponent.strip_prefix(['e', 'E']).ok_or(QuantityError::Form)?;
                (
                    0,
                    i64::from(digits.parse::<i32>().map_err(|_| QuantityError::Form)?),
                )
            }
        };
        Ok(Self { binary, decimal })
    }

    fn times(&self, mantissa: u128, fraction_digits: usize) -> Result<Quantity, QuantityError> {
        let decimal = self.decimal - i64::try_from(fraction_digits).unwrap_or(i64::MAX / 2);
        let power = u32::try_from(decimal.unsigned_abs())
            .ok()
            .and_then(|exponent| 10u128.checked_pow(exponent));
        let binary = 1u128 << self.binary;
        let (numerator, denominator) = match (decimal.cmp(&0), power) {
            (Ordering::Less, Some(power)) => (binary, power),
            // Below one in 10^38: rounds up to one, as any crumb does.
            (Ordering::Less, None) => {
                return Ok(Quantity {
                    mantissa: 1,
                    numerator: 1,
                    denominator: u128::MAX,
                });
            }
            (_, Some(power)) => (power.checked_mul(binary).ok_or(QuantityError::TooLarge)?, 1),
            (_, None) => return Err(QuantityError::TooLarge),
        };
        Ok(Quantity {
            mantissa,
            numerator,
            denominator,
        })
    }
}

fn digits(text: impl Iterator<Item = char>) -> Option<u128> {
    text.filter_map(|c| c.to_digit(10))
        .try_fold(0u128, |value, digit| {
            value.checked_mul(10)?.checked_add(u128::from(digit))
        })
}

#[cfg(test)]
mod tests {
    use super::{Quantity, QuantityError};

    fn bytes(text: &str) -> Result<Option<u64>, QuantityError> {
        Quantity::parse(text).map(|quantity| quantity.rounded_up())
    }

    #[test]
    fn every_suffix() {
        let cases = [
            ("0", 0),
            ("1", 1),
            ("1.", 1),
            (".5", 1),
            ("+7", 7),
            ("007", 7),
            ("1Ki", 1 << 10),
            ("1Mi", 1 << 20),
            ("20Gi", 20 << 30),
            ("1Ti", 1 << 40),
            ("1Pi", 1 << 50),
            ("15Ei", 15 << 60),
            ("1k", 1_000),
            ("1M", 1_000_000),
            ("1G", 1_000_000_000),
            ("1T", 1_000_000_000_000),
            ("1P", 1_000_000_000_000_000),
            ("18E", 18_000_000_000_000_000_000),
            ("1500m", 2),
            ("1000m", 1),
            ("1u", 1),
            ("1000001u", 2),
            ("206141652992000000000n", 206_141_652_992),
            ("1e3", 1_000),
            ("1E3", 1_000),
            ("1.25e+3", 1_250),
            ("1500e-3", 2),
            ("1.5Gi", 3 << 29),
            ("0.1Gi", 107_374_183),
            ("191.984375Gi", 206_141_652_992),
            ("9007199254740993", 9_007_199_254_740_993),
            ("18446744073709551615", u64::MAX),
            ("1e-400", 1),
            ("0e400", 0),
            ("-0", 0),
            ("1.000000000000000000000000000000", 1),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn refused_forms() {
        for text in [
            "",
            "Gi",
            ".",
            "-",
            "+",
            "1 Gi",
            " 1Gi",
            "1Gi ",
            "1gi",
            "1K",
            "1GiB",
            "1.2.3",
            "1e",
            "e3",
            "1e3Gi",
            "1Ei3",
            "0x10",
            "NaN",
            "inf",
            "--1",
            "+-1",
            "1e1.5",
            "1,5Gi",
            "١Gi",
            "1e99999999999",
        ] {
            assert_eq!(bytes(text), Err(QuantityError::Form), "{text:?}");
        }
        assert_eq!(bytes("-1Gi"), Err(QuantityError::Negative));
        assert_eq!(bytes("1e400"), Err(QuantityError::TooLarge));
        assert_eq!(bytes("16Ei"), Ok(None));
        assert_eq!(bytes("18446744073709551615001m"), Ok(None));
        assert_eq!(bytes(&"9".repeat(60)), Err(QuantityError::TooLarge));
    }

    #[test]
    fn millis() {
        let millis = |text| Quantity::parse(text).map(|quantity| quantity.whole_millis());
        assert_eq!(millis("100m"), Ok(Some(100)));
        assert_eq!(millis("0.25"), Ok(Some(250)));
        assert_eq!(millis("1"), Ok(Some(1000)));
        assert_eq!(millis("250000u"), Ok(Some(250)));
        assert_eq!(millis("1e-1"), Ok(Some(100)));
        assert_eq!(millis("0.0005"), Ok(None));
        assert_eq!(millis("1e-60"), Ok(None));
    }
}
