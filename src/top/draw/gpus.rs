//! The pane of GPUs: for each, a strip of its compute units and a bar of its memory.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{List, ListItem, ListState};

use super::pane;
use super::pieces::{bar, short, strip};
use super::theme::Theme;
use crate::top::app::{App, Pane};
use crate::top::bar::of_gpu;
use crate::top::rows::GpuRow;
use crate::top::strip::Mark;

/// Columns of the index and the model.
const LABEL: usize = 12;
/// Columns of the figures beside a strip, e.g. ` 1024+1024/1024`.
const UNITS: usize = 14;
/// Columns of the figures beside a bar.
const AMOUNTS: usize = 48;
const LEGEND: &str = " A: guaranteed, a: lent, +: shared  # used = guaranteed + lent . free ";

/// Lines that all GPUs need.
pub fn lines(app: &App, width: u16) -> u16 {
    let lines = app.rows.gpus.iter().map(|row| 1 + strip_lines(row, width).len());
    u16::try_from(lines.sum::<usize>()).unwrap_or(u16::MAX)
}

/// Draws the pane.
pub fn draw(app: &App, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let has_keys = app.pane == Pane::Gpus;
    let rows = &app.rows.gpus;
    let title = format!("GPUs {}/{}", (app.gpu + 1).min(rows.len()), rows.len());
    let block = pane(title, has_keys, theme).title_bottom(Line::styled(LEGEND, theme.faint()));
    let items = rows.iter().map(|row| ListItem::new(text(row, area.width, theme)));
    let style = if has_keys { theme.chosen() } else { theme.plain() };
    let list = List::new(items).block(block).highlight_style(style);
    let mut state = ListState::default().with_selected(Some(app.gpu));
    frame.render_stateful_widget(list, area, &mut state);
}

fn text(row: &GpuRow, width: u16, theme: Theme) -> Vec<Line<'static>> {
    let label = format!("{:>2} {:<9.9}", row.index, row.name);
    let units = &row.units;
    let figures = format!("{}+{}/{}", units.guaranteed, units.lent, units.total);
    let mut lines = Vec::new();
    for (number, columns) in strip_lines(row, width).into_iter().enumerate() {
        let start = if number == 0 {
            label.clone()
        } else {
            " ".repeat(LABEL)
        };
        let mut spans = vec![Span::raw(start)];
        for column in columns {
            spans.extend(strip(column, theme));
            spans.push(Span::raw(" "));
        }
        if number == 0 {
            spans.push(Span::raw(figures.clone()));
        }
        lines.push(Line::from(spans));
    }
    lines.push(memory_line(row, width, theme));
    lines
}

fn memory_line(row: &GpuRow, width: u16, theme: Theme) -> Line<'static> {
    let memory = &row.memory;
    let room = inner(width).saturating_sub(LABEL + AMOUNTS);
    let mut spans = vec![Span::raw(format!("   {:<9.9}", row.mode))];
    spans.extend(bar(&of_gpu(memory, room), theme));
    spans.push(Span::raw(format!(
        " guar {:>6} lent {:>6} used {:>6} free {:>6}",
        short(memory.guaranteed),
        short(memory.lent),
        short(memory.used),
        short(memory.free)
    )));
    Line::from(spans)
}

/// Columns of compute units, as many in a line as there is room for.
fn strip_lines(row: &GpuRow, width: u16) -> Vec<&[Vec<Mark>]> {
    let room = inner(width).saturating_sub(LABEL + UNITS);
    let column = row.strip.first().map_or(0, Vec::len) + 1;
    row.strip.chunks((room / column).max(1)).collect()
}

/// Width without the pane's sides.
fn inner(width: u16) -> usize {
    usize::from(width.saturating_sub(2))
}
