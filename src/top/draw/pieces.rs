//! Strips, bars and amounts as text.

use ratatui::text::Span;

use super::theme::Theme;
use crate::top::bar::Piece;
use crate::top::strip::Mark;

/// Units of amounts: a suffix and the power of two it stands for.
const SUFFIXES: [(&str, u32); 4] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// Signs one after the other, a span for each run of the same.
fn runs<T: Copy + PartialEq>(items: &[T], span: impl Fn(T, usize) -> Span<'static>) -> Vec<Span<'static>> {
    items
        .chunk_by(|a, b| a == b)
        .filter_map(|run| Some(span(*run.first()?, run.len())))
        .collect()
}

/// A row of compute units.
pub fn strip(marks: &[Mark], theme: Theme) -> Vec<Span<'static>> {
    runs(marks, |mark, count| {
        Span::styled(mark.symbol().to_string().repeat(count), theme.mark(mark))
    })
}

/// A bar of memory.
pub fn bar(pieces: &[Piece], theme: Theme) -> Vec<Span<'static>> {
    runs(pieces, |piece, count| {
        Span::styled(piece.symbol().to_string().repeat(count), theme.piece(piece))
    })
}

/// An amount in at most six characters: `191Gi`, `13.1Gi`, `0`. Cut, not rounded.
pub fn short(bytes: u64) -> String {
    let Some((suffix, power)) = SUFFIXES.into_iter().find(|(_, power)| bytes >> power > 0) else {
        return bytes.to_string();
    };
    let tenths = (u128::from(bytes) * 10) >> power;
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{suffix}"),
        (whole @ 100.., _) => format!("{whole}{suffix}"),
        (whole, tenth) => format!("{whole}.{tenth}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let amounts = [0, 1023, 1 << 20, 20 << 30, 206_141_652_992, 1536 << 20, 1 << 41];
        let texts: Vec<String> = amounts.into_iter().map(short).collect();
        assert_eq!(texts, ["0", "1023", "1Mi", "20Gi", "191Gi", "1.5Gi", "2Ti"]);
    }
}
