//! Colours, or none: whatever they say is said by a sign as well.

use ratatui::style::{Color, Modifier, Style};

use crate::top::bar::Piece;
use crate::top::strip::Mark;

/// Colours of slices, by their letters in turn.
const SLICES: [Color; 11] = [
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
];

/// How things look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether colours may be used.
    pub colours: bool,
}

impl Theme {
    /// Text.
    pub fn plain(self) -> Style {
        Style::new()
    }

    /// Headings.
    pub fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is not to stand out.
    pub fn faint(self) -> Style {
        self.coloured(Color::DarkGray)
    }

    /// What is chosen.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What wants to be read.
    pub fn notice(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// A slice's letter.
    pub fn letter(self, letter: char) -> Style {
        self.coloured(slice_colour(letter)).add_modifier(Modifier::BOLD)
    }

    /// A compute unit.
    pub fn mark(self, mark: Mark) -> Style {
        match mark {
            Mark::Guaranteed(letter) if self.colours => {
                Style::new().fg(Color::Black).bg(slice_colour(letter))
            }
            Mark::Lent(letter) => self.coloured(slice_colour(letter)),
            Mark::Idle | Mark::Absent => self.faint(),
            Mark::Guaranteed(_) | Mark::Shared | Mark::Differs => Style::new(),
        }
    }

    /// A piece of a bar.
    pub fn piece(self, piece: Piece) -> Style {
        self.coloured(match piece {
            Piece::Used => Color::Green,
            Piece::Guaranteed => Color::Blue,
            Piece::Lent => Color::Yellow,
            Piece::Free => Color::DarkGray,
        })
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}

fn slice_colour(letter: char) -> Color {
    let number = (letter as usize).saturating_sub('A' as usize);
    SLICES.get(number % SLICES.len()).copied().unwrap_or(Color::White)
}
