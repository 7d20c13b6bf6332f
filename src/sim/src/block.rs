//! The blocks that a chip is made of, as the table on the chip lists them (Linux, amdgpu_discovery.c).

/// One instance of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Name of its kind, as `hw_id_names` has it.
    pub name: String,
    /// Number of its kind: `*_HWID` of soc15_hw_ip.h.
    pub hw_id: u32,
    /// Major, minor and revision.
    pub version: [u8; 3],
    /// Where its registers are, in words of 32 bits from the start of the card's registers.
    pub base_addresses: Vec<u32>,
}

/// Number of graphics and compute: an instance for each XCC.
pub const GC: u32 = 11;
/// Number of the copy engines; where they have one number, an instance for each.
pub const SDMA0: u32 = 42;

impl Block {
    /// The form that a block's line has.
    pub const FORM: &str = "\"NAME HW_ID MAJOR.MINOR.REVISION ADDRESS…\" for each block";

    /// Reads a line of [`Self::FORM`]; None where it is not of that form.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let hw_id = words.next()?.parse().ok()?;
        let version: Vec<u8> = words
            .next()?
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        let address = |word: &str| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        Some(Self {
            name,
            hw_id,
            version: version.try_into().ok()?,
            base_addresses: words.map(address).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Block;

    #[test]
    fn a_line_is_a_block_or_nothing() {
        let block = Block::parse("GC 11 9.4.3 0x00002000 0xa000").unwrap();
        assert_eq!((block.name.as_str(), block.hw_id), ("GC", 11));
        assert_eq!(
            (block.version, block.base_addresses),
            ([9, 4, 3], vec![0x2000, 0xa000])
        );
        for line in ["", "GC 11", "GC eleven 9.4.3", "GC 11 9.4", "GC 11 9.4.3 2000"] {
            assert_eq!(Block::parse(line), None, "{line}");
        }
    }
}
