//! The last events.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::theme::Theme;
use crate::top::app::App;
use crate::top::events::Event;
use crate::units::span;

/// Draws the pane.
pub fn draw(app: &App, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let block = Block::new()
        .borders(Borders::TOP)
        .title("  events ")
        .border_style(theme.faint());
    let lines: Vec<Line<'_>> = app
        .events
        .iter()
        .take(usize::from(area.height.saturating_sub(1)))
        .map(|event| line(event, app, theme))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// One event.
pub fn line<'a>(event: &'a Event, app: &App, theme: Theme) -> Line<'a> {
    let letter = app.letters.of(&event.slice);
    // Of a slice that is gone another one may have the letter by now.
    let letter = if letter == '?' { ' ' } else { letter };
    Line::from(vec![
        Span::raw(format!("{:>4} ", span(app.now.saturating_sub(event.time)))),
        Span::styled(format!("{letter} "), theme.letter(letter)),
        Span::raw(format!("{}: {}", event.owner, event.text)),
    ])
}
