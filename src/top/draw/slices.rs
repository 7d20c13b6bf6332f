//! The pane of slices.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table, TableState};

use super::pane;
use super::pieces::{bar, short};
use super::theme::Theme;
use crate::top::app::{App, Pane};
use crate::top::bar::of_slice;
use crate::top::rows::SliceRow;
use crate::units::span;

/// Columns of a slice's bar.
const BAR: u16 = 8;
/// Width of a terminal from which on there is room for words.
const WIDE: u16 = 110;

/// Draws the pane.
pub fn draw(app: &App, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let has_keys = app.pane == Pane::Slices;
    let rows = &app.rows.slices;
    let title = format!(
        "slices {}/{} by {}{}",
        (app.slice + 1).min(rows.len()),
        rows.len(),
        app.sort.name(),
        if app.reversed { ", reversed" } else { "" }
    );
    let is_wide = area.width >= WIDE;
    let style = if has_keys { theme.chosen() } else { theme.plain() };
    let mut heading = vec![
        " ",
        "OWNER",
        "GPU",
        "USED/LIMIT",
        "MEMORY",
        "UNITS",
        "QUEUES",
        "ENFORCED",
        "REFUSED",
    ];
    let enforced = if is_wide { 28 } else { 8 };
    let mut widths = vec![
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Length(13),
        Constraint::Length(BAR),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(enforced),
        Constraint::Length(7),
    ];
    if is_wide {
        heading.extend(["STATE", "AGE"]);
        widths.extend([Constraint::Length(7), Constraint::Length(4)]);
    }
    let row = |row| table_row(row, app.now, (is_wide, theme));
    let table = Table::new(rows.iter().map(row), widths)
        .header(Row::new(heading).style(theme.heading()))
        .block(pane(title, has_keys, theme))
        .row_highlight_style(style);
    let mut state = TableState::default().with_selected(Some(app.slice));
    frame.render_stateful_widget(table, area, &mut state);
}

fn table_row(row: &SliceRow, now: u64, (is_wide, theme): (bool, Theme)) -> Row<'static> {
    let mut cells = vec![
        Cell::from(Span::styled(row.letter.to_string(), theme.letter(row.letter))),
        Cell::from(row.owner.clone()),
        Cell::from(gpus(&row.gpus)),
        Cell::from(format!("{}/{}", short(row.memory.used), short(row.memory.limit))),
        Cell::from(Line::from(bar(&of_slice(&row.memory, usize::from(BAR)), theme))),
        Cell::from(format!("{}/{}", row.units, row.units_limit)),
        Cell::from(row.queues.to_string()),
        Cell::from(enforcement(&row.enforcement, is_wide)),
        Cell::from(row.refused.to_string()),
    ];
    if is_wide {
        cells.push(Cell::from(row.state));
        cells.push(Cell::from(span(now.saturating_sub(row.created))));
    }
    Row::new(cells)
}

/// `0-3`, `0,2`.
fn gpus(indices: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &index in indices {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let texts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(",")
}

/// Layers by name, or where room is short by their first letters, e.g. `D+C`.
fn enforcement(layers: &[String], is_wide: bool) -> String {
    if is_wide {
        return layers.join(",");
    }
    let initials: Vec<String> = layers
        .iter()
        .filter_map(|layer| Some(layer.chars().next()?.to_ascii_uppercase().to_string()))
        .collect();
    initials.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        assert_eq!(gpus(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        let layers = ["devices".to_owned(), "cooperative".to_owned()];
        assert_eq!(enforcement(&layers, false), "D+C");
        assert_eq!(enforcement(&layers, true), "devices,cooperative");
    }
}
