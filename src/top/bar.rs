//! A GPU's or a slice's memory as a bar. Pure.

use crate::snapshot::sums::MemorySums;

/// What a piece of a bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Guaranteed and in use.
    Used,
    /// Guaranteed, not in use.
    Guaranteed,
    /// Lent and in use.
    Lent,
    /// Nobody's.
    Free,
}

impl Piece {
    /// As text.
    pub fn symbol(self) -> char {
        match self {
            Self::Used => '#',
            Self::Guaranteed => '=',
            Self::Lent => '+',
            Self::Free => '.',
        }
    }
}

/// A bar of `width` pieces for a GPU.
pub fn of_gpu(memory: &MemorySums, width: usize) -> Vec<Piece> {
    let used = memory.used.saturating_sub(memory.lent_used);
    let amounts = [
        (Piece::Used, used),
        (Piece::Guaranteed, memory.guaranteed.saturating_sub(used)),
        (Piece::Lent, memory.lent_used),
    ];
    scale(&amounts, memory.capacity, width)
}

/// A slice's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceMemory {
    /// In use.
    pub used: u64,
    /// Guaranteed.
    pub guaranteed: u64,
    /// Never exceeded.
    pub limit: u64,
}

/// A bar of `width` pieces for a slice: what it uses of its limit, with its guarantee.
pub fn of_slice(memory: &SliceMemory, width: usize) -> Vec<Piece> {
    let within = memory.used.min(memory.guaranteed);
    let amounts = [
        (Piece::Used, within),
        (Piece::Guaranteed, memory.guaranteed - within),
        (Piece::Lent, memory.used - within),
    ];
    scale(&amounts, memory.limit, width)
}

/// Each amount ends where its share of the whole ends, so that rounding errors do not add up; what there is at all has a
/// piece as long as there is room.
fn scale(amounts: &[(Piece, u64)], whole: u64, width: usize) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(width);
    let mut sum = 0u128;
    for (piece, amount) in amounts {
        if *amount == 0 {
            continue;
        }
        sum += u128::from(*amount);
        let end = (sum * width as u128 / u128::from(whole.max(1))) as usize;
        let end = end.max(pieces.len() + 1).min(width);
        pieces.resize(end, *piece);
    }
    pieces.resize(width, Piece::Free);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| piece.symbol()).collect()
    }

    fn slice([used, guaranteed, limit]: [u64; 3], width: usize) -> Vec<Piece> {
        let memory = SliceMemory {
            used,
            guaranteed,
            limit,
        };
        of_slice(&memory, width)
    }

    #[test]
    fn pieces_are_shares_of_the_whole() {
        let memory = MemorySums {
            capacity: 100,
            guaranteed: 50,
            lent: 40,
            lent_used: 20,
            used: 50,
            free: 30,
        };
        assert_eq!(text(&of_gpu(&memory, 10)), "###==++...");
        assert_eq!(text(&slice([0, 5, 10], 4)), "==..");
        assert_eq!(text(&slice([10, 5, 10], 4)), "##++");
    }

    #[test]
    fn little_is_still_seen_and_too_much_stays_inside() {
        assert_eq!(text(&slice([1, 1000, 1000], 4)), "#===");
        assert_eq!(text(&slice([2000, 1000, 1000], 4)), "####");
        assert_eq!(text(&slice([1, 1, 0], 2)), "##");
        assert_eq!(text(&slice([0, 0, 0], 2)), "..");
    }
}
