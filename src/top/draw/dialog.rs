//! The resize dialog.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::theme::Theme;
use crate::top::resize::{Field, Resize};

const WIDTH: u16 = 58;
const HEIGHT: u16 = 10;

/// Draws the dialog in the middle.
pub fn draw(resize: &Resize, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let area = area.centered(Constraint::Length(WIDTH), Constraint::Length(HEIGHT));
    let block = Block::bordered().title(Line::styled(
        format!(" resize {} ", resize.title),
        theme.heading(),
    ));
    let fields = resize.fields.iter().enumerate();
    let mut lines: Vec<Line<'_>> = fields
        .map(|(number, field)| line(field, number == resize.at && !resize.is_asking, theme))
        .collect();
    lines.push(Line::default());
    lines.extend(foot(resize, theme));
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(lines).wrap(Wrap { trim: false }).block(block),
        area,
    );
}

fn line(field: &Field, has_keys: bool, theme: Theme) -> Line<'_> {
    let (sign, style) = if has_keys {
        (">", theme.chosen())
    } else {
        (" ", theme.plain())
    };
    let cursor = if has_keys { "_" } else { "" };
    Line::from(vec![
        Span::raw(format!("{sign} {:<13} {:>14} to ", field.label, field.before)),
        Span::styled(format!("{}{cursor}", field.text), style),
    ])
}

fn foot(resize: &Resize, theme: Theme) -> Vec<Line<'_>> {
    if resize.is_asking {
        return vec![Line::styled(
            "Resize it? y: yes  n: type again  Esc: leave it",
            theme.notice(),
        )];
    }
    if let Some(error) = &resize.error {
        return vec![Line::styled(error.as_str(), theme.notice())];
    }
    vec![Line::from(
        "Del: clear  Tab: next field  Enter: go on  Esc: leave it",
    )]
}
