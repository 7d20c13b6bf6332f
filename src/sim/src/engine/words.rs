//! Words of 32 bits, of which the packets of SDMA and PM4 are made, and what both wait for in memory.

use std::io;

use super::Context;
use super::run::Ring;

/// Bytes of a word.
pub const WORD: u64 = 4;

/// The word at an address of the process.
pub fn word_at(context: &Context, address: u64) -> io::Result<u32> {
    context.read(address).map(u32::from_le_bytes)
}

/// `count` words from an address of the process on.
pub fn words_at(context: &Context, address: u64, count: u64) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0; (count * WORD) as usize];
    context.read_into(address, &mut bytes)?;
    Ok(to_words(&bytes))
}

/// `count` words of a ring from a byte index on, around its end; no more than it has.
pub fn ring_words(context: &Context, ring: &Ring, (index, count): (u64, u64)) -> io::Result<Vec<u32>> {
    let start = index % ring.size;
    let mut bytes = vec![0; (count * WORD).min(ring.size) as usize];
    let first = (ring.size - start).min(bytes.len() as u64) as usize;
    context.read_into(ring.base + start, &mut bytes[..first])?;
    context.read_into(ring.base, &mut bytes[first..])?;
    Ok(to_words(&bytes))
}

fn to_words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<{ WORD as usize }>();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// The bytes of words, as they lie in memory.
pub fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Two words that are one number, an address for example.
pub fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// A word in memory that is waited for: SDMA's POLL_REGMEM, PM4's WAIT_REG_MEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Its address.
    pub from: u64,
    /// How it is compared: always, <, ≤, =, ≠, ≥, >.
    pub function: u32,
    /// With what.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

impl Poll {
    /// Whether it has come.
    pub fn is_over(&self, context: &Context) -> io::Result<bool> {
        Ok(self.compares(word_at(context, self.from)? & self.mask))
    }

    fn compares(&self, found: u32) -> bool {
        match self.function {
            1 => found < self.value,
            2 => found <= self.value,
            3 => found == self.value,
            4 => found != self.value,
            5 => found >= self.value,
            6 => found > self.value,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Poll;

    #[test]
    fn a_word_is_compared_as_the_function_says() {
        let compares = |function, found| {
            let poll = Poll {
                from: 0,
                function,
                value: 7,
                mask: u32::MAX,
            };
            poll.compares(found)
        };
        assert!(compares(3, 7) && !compares(3, 6) && compares(1, 6) && !compares(6, 7));
    }
}
