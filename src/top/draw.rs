//! A frame of `sdg top`.
//!
//! ```text
//! App ─→ header, GPUs, slices, events, footer; or a detail view; a dialog above either
//! ```

mod detail;
mod dialog;
mod events;
mod gpus;
mod help;
mod pieces;
mod slices;
pub mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use self::pieces::short;
use self::theme::Theme;
use super::app::{App, View};

/// The smallest terminal that everything fits on in some form.
const LEAST: (u16, u16) = (60, 14);
/// Lines of a terminal from which on events have a pane.
const WITH_EVENTS: u16 = 22;
/// Lines of the pane of events, its heading included.
const EVENTS: u16 = 4;

/// Draws everything.
pub fn draw(app: &App, frame: &mut Frame<'_>, theme: Theme) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "The terminal has {}x{}; sdg top needs {}x{}. q: quit",
            area.width, area.height, LEAST.0, LEAST.1
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [header, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(summary(app)).style(theme.heading()), header);
    match &app.view {
        View::Overview => overview(app, frame, (body, theme)),
        View::Gpu(index) => detail::gpu(app, *index, frame, (body, theme)),
        View::Slice(id) => detail::slice(app, id, frame, (body, theme)),
        View::Help => help::draw(app, frame, body),
    }
    frame.render_widget(foot(app, theme), footer);
    if let Some(resize) = &app.resize {
        dialog::draw(resize, frame, (area, theme));
    }
}

fn overview(app: &App, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let events = if area.height + 2 >= WITH_EVENTS { EVENTS } else { 0 };
    let wanted = gpus::lines(app, area.width) + 2;
    let most = area.height.saturating_sub(events) / 2;
    let [gpus, slices, events] = Layout::vertical([
        Constraint::Length(wanted.min(most)),
        Constraint::Fill(1),
        Constraint::Length(events),
    ])
    .areas(area);
    gpus::draw(app, frame, (gpus, theme));
    slices::draw(app, frame, (slices, theme));
    if events.height > 0 {
        events::draw(app, frame, (events, theme));
    }
}

/// One line about the node.
fn summary(app: &App) -> String {
    let gpus = &app.rows.gpus;
    let sum = |of: fn(&super::rows::GpuRow) -> u64| short(gpus.iter().map(of).sum());
    let units = |of: fn(&super::rows::GpuRow) -> u32| gpus.iter().map(of).sum::<u32>();
    format!(
        "sdg top  GPUs {}  slices {}  guaranteed {}  used {}  free {}  units {}/{}",
        gpus.len(),
        app.rows.slices.len(),
        sum(|row| row.memory.guaranteed),
        sum(|row| row.memory.used),
        sum(|row| row.memory.free),
        units(|row| row.units.guaranteed + row.units.lent),
        units(|row| row.units.total),
    )
}

/// How the last wish went, else the keys.
fn foot(app: &App, theme: Theme) -> Paragraph<'_> {
    if let Some(message) = &app.message {
        return Paragraph::new(message.as_str()).style(theme.notice());
    }
    let keys = match app.view {
        View::Overview => "q quit  Tab pane  arrows choose  Enter detail  s S sort  r resize  ? help",
        View::Slice(_) => "Esc back  arrows scroll  r resize  q quit",
        View::Gpu(_) | View::Help => "Esc back  arrows scroll  q quit",
    };
    Paragraph::new(Line::from(keys)).style(theme.faint())
}

/// A pane with a heading; the one that keys go to is marked, with colours or without.
fn pane(title: String, has_keys: bool, theme: Theme) -> Block<'static> {
    let title = if has_keys {
        format!("> {title} ")
    } else {
        format!("  {title} ")
    };
    let style = if has_keys { theme.heading() } else { theme.plain() };
    Block::bordered()
        .title(Line::styled(title, style))
        .border_style(theme.faint())
}

#[cfg(test)]
mod tests;
