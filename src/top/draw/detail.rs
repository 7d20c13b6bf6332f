//! All about one GPU or one slice.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::events;
use super::pane;
use super::pieces::strip;
use super::theme::Theme;
use crate::inventory::Gpu;
use crate::snapshot::SliceNow;
use crate::snapshot::sums::Part;
use crate::top::app::App;
use crate::top::rows::owner;
use crate::top::strip::UnitMap;
use crate::units::{Bytes, span};

/// Columns before a row of the grid: `SE0.1 `.
const LABEL: usize = 6;

/// Draws a GPU: its figures, every compute unit, its slices.
pub fn gpu(app: &App, index: u32, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let gpus = &app.snapshot.inventory.gpus;
    let Some(gpu) = gpus.iter().find(|gpu| gpu.index == index) else {
        return gone(app, frame, area, theme);
    };
    let memory = app.snapshot.memory_of(gpu);
    let units = app.snapshot.units_of(gpu);
    let mut lines = vec![
        fact("name", format!("{}, {}, PCI {}", gpu.name, gpu.uuid, gpu.pci)),
        fact("render node", format!("/dev/dri/renderD{}", gpu.render_minor)),
        fact(
            "memory",
            format!(
                "{} for slices: {} guaranteed, {} lent ({} of it in use), {} used, {} free",
                Bytes(memory.capacity),
                Bytes(memory.guaranteed),
                Bytes(memory.lent),
                Bytes(memory.lent_used),
                Bytes(memory.used),
                Bytes(memory.free)
            ),
        ),
        fact(
            "units",
            format!(
                "{}: {} guaranteed, {} lent, {} idle",
                units.total, units.guaranteed, units.lent, units.idle
            ),
        ),
        Line::default(),
    ];
    lines.extend(grid(app, gpu, (area.width, theme)));
    lines.push(Line::default());
    for part in app.snapshot.parts_of(gpu) {
        lines.push(part_line(app, &part, theme));
    }
    show(app, frame, (format!("GPU {index}"), lines), (area, theme));
}

fn part_line(app: &App, part: &Part<'_>, theme: Theme) -> Line<'static> {
    let letter = app.letters.of(&part.slice.record.id);
    let memory = format!("{} of {}", Bytes(part.used), Bytes(part.grant.memory_limit_bytes));
    Line::from(vec![
        Span::styled(format!("{letter} "), theme.letter(letter)),
        Span::raw(format!("{}: {memory} in use", owner(part.slice))),
    ])
}

/// Draws a slice: its figures on each GPU, and every compute unit there.
pub fn slice(app: &App, id: &str, frame: &mut Frame<'_>, (area, theme): (Rect, Theme)) {
    let slices = &app.snapshot.slices;
    let Some(slice) = slices.iter().find(|slice| slice.record.id == id) else {
        return gone(app, frame, area, theme);
    };
    let mut lines = slice_facts(app, slice, theme);
    for part in slice.parts() {
        lines.push(Line::default());
        lines.extend(part_facts(&part));
        let gpus = &app.snapshot.inventory.gpus;
        if let Some(gpu) = gpus.iter().find(|gpu| gpu.uuid == part.grant.uuid) {
            lines.push(fact(
                "effective",
                format!(
                    "{} units by the model",
                    gpu.grid.effective_units(&part.units(&gpu.grid))
                ),
            ));
            lines.extend(grid(app, gpu, (area.width, theme)));
        }
    }
    lines.push(Line::default());
    let own = app.events.iter().filter(|event| event.slice == id);
    lines.extend(own.map(|event| events::line(event, app, theme)));
    let title = format!("slice {} {}", app.letters.of(id), owner(slice));
    show(app, frame, (title, lines), (area, theme));
}

fn slice_facts(app: &App, slice: &SliceNow, theme: Theme) -> Vec<Line<'static>> {
    let (record, usage) = (&slice.record, &slice.live.usage);
    let age = span(app.now.saturating_sub(record.created));
    let letter = app.letters.of(&record.id);
    let mut identity = fact(
        "slice",
        format!("{}, {}, made {age} ago", record.id, slice.state.name()),
    );
    identity.push_span(Span::styled(format!("  {letter}"), theme.letter(letter)));
    let processes = format!(
        "{} with GPU memory, {} queue(s) with the slice's mask",
        usage.processes, usage.masked_queues
    );
    vec![
        identity,
        fact("owner", owner(slice)),
        fact("enforced by", record.enforcement.join(", ")),
        fact("processes", processes),
        fact(
            "sizing",
            format!(
                "peak {}, {} allocation(s) refused",
                Bytes(usage.peak),
                usage.refused
            ),
        ),
    ]
}

fn part_facts(part: &Part<'_>) -> Vec<Line<'static>> {
    let grant = part.grant;
    let units = match (grant.exclusive, grant.compute_units) {
        (true, _) => "all".to_owned(),
        (false, 0) => format!("best effort, at most {}", grant.compute_limit_units),
        (false, units) => format!("{units} guaranteed, at most {}", grant.compute_limit_units),
    };
    let in_force = part.in_force.map_or(0, |in_force| in_force.mask.count());
    let memory = format!(
        "{} used; {} guaranteed, {} at most, {} can be had now",
        Bytes(part.used),
        Bytes(grant.memory_bytes),
        Bytes(grant.memory_limit_bytes),
        Bytes(part.available())
    );
    vec![
        fact(&format!("GPU {}", grant.index), memory),
        fact("units", format!("{units}; the mask in force has {in_force}")),
    ]
}

fn fact(name: &str, text: String) -> Line<'static> {
    Line::from(format!("{name:<12} {text}"))
}

/// Every compute unit of a GPU: a block for each XCC, a row for each shader array.
fn grid(app: &App, gpu: &Gpu, (width, theme): (u16, Theme)) -> Vec<Line<'static>> {
    let map = UnitMap::new(&app.snapshot, gpu, &app.letters);
    let block = gpu.grid.slots as usize + 1;
    let beside = (usize::from(width.saturating_sub(2)).saturating_sub(LABEL) / block).max(1);
    let xccs: Vec<u32> = (0..gpu.grid.xccs).collect();
    let mut lines = Vec::new();
    for band in xccs.chunks(beside) {
        let heading = band
            .iter()
            .map(|xcc| format!("{:<block$.block$}", format!("XCC {xcc}")));
        lines.push(Line::from(" ".repeat(LABEL) + &heading.collect::<String>()));
        let blocks: Vec<_> = band.iter().map(|&xcc| map.columns_of(xcc)).collect();
        for column in 0..gpu.grid.columns() as usize {
            let mut spans = vec![Span::raw(row_label(gpu, column as u32))];
            for block in &blocks {
                spans.extend(strip(block.get(column).map_or(&[], Vec::as_slice), theme));
                spans.push(Span::raw(" "));
            }
            lines.push(Line::from(spans));
        }
    }
    lines
}

/// `SE0`, or `SE0.1` where an engine has several arrays.
fn row_label(gpu: &Gpu, column: u32) -> String {
    let (array, engine) = (column / gpu.grid.engines, column % gpu.grid.engines);
    let label = if gpu.grid.arrays > 1 {
        format!("SE{engine}.{array}")
    } else {
        format!("SE{engine}")
    };
    format!("{label:<LABEL$}")
}

fn gone(app: &App, frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let lines = vec![Line::from("It is gone.")];
    show(app, frame, ("detail".to_owned(), lines), (area, theme));
}

fn show(
    app: &App,
    frame: &mut Frame<'_>,
    (title, lines): (String, Vec<Line<'_>>),
    (area, theme): (Rect, Theme),
) {
    let inner = area.height.saturating_sub(2);
    let most = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_sub(inner);
    let text = Paragraph::new(lines)
        .block(pane(title, true, theme))
        .scroll((app.scroll.min(most), 0));
    frame.render_widget(text, area);
}
