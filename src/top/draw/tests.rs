//! Frames on a terminal that is a buffer, without colours unless a test is about them.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::draw;
use super::theme::Theme;
use crate::snapshot::fixtures::{GI, add_slice, empty_node};
use crate::top::app::App;

const PLAIN: Theme = Theme { colours: false };

fn terminal(app: &App, (width, height): (u16, u16), theme: Theme) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(app, frame, theme)).unwrap();
    terminal
}

fn screen(app: &App, size: (u16, u16)) -> String {
    let terminal = terminal(app, size, PLAIN);
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(size.0));
    let text = |line: &[ratatui::buffer::Cell]| line.iter().map(|cell| cell.symbol()).collect::<String>();
    lines
        .map(|line| text(line).trim_end().to_owned() + "\n")
        .collect()
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.key(KeyEvent::from(*key));
    }
}

fn app(gpus: u32) -> App {
    let mut node = empty_node(gpus);
    add_slice(&mut node, ("train", "memory=40Gi compute=500m"), 31 * GI);
    add_slice(
        &mut node,
        ("serve", "memory=20Gi memoryLimit=60Gi compute=250m"),
        25 * GI,
    );
    let mut app = App::default();
    app.look(node.clone(), 1100);
    add_slice(&mut node, ("batch", "memory=8Gi"), 0);
    node.slices[0].live.usage.refused = 3;
    node.slices[1].live.usage.masked_queues = 4;
    app.look(node, 1130);
    app
}

#[test]
fn everything_fits_80_by_24_without_colours() {
    let expected = "\
sdg top  GPUs 1  slices 3  guaranteed 68Gi  used 56Gi  free 118Gi  units 304/304
┌  GPUs 1/1 ───────────────────────────────────────────────────────────────────┐
│ 0 MI300X   AAAAAAAAAc AAAAAAAAAc BBBBBBBBB  ccccccccc  216+88/304            │
│   SPX/NPS1 ####==+........... guar   68Gi lent   40Gi used   56Gi free  118Gi│
└ A: guaranteed, a: lent, +: shared  # used = guaranteed + lent . free ────────┘
┌> slices 1/3 by age ──────────────────────────────────────────────────────────┐
│  OWNER         GPU   USED/LIMIT    MEMORY   UNITS     QUEUES ENFORCED REFUSED│
│A train         0     31Gi/40Gi     ######== 144/144   0      D+C      3      │
│B serve         0     25Gi/60Gi     ##+..... 72/72     4      D+C      0      │
│C batch         0     0/8Gi         ======== 88/304    0      D+C      0      │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
│                                                                              │
└──────────────────────────────────────────────────────────────────────────────┘
  events ───────────────────────────────────────────────────────────────────────
  0s C batch: placed on GPU 0 with 8Gi
  0s A train: 3 allocation(s) refused

q quit  Tab pane  arrows choose  Enter detail  s S sort  r resize  ? help
";
    assert_eq!(screen(&app(1), (80, 24)), expected);
}

#[test]
fn colours_are_used_only_where_they_may_be() {
    let coloured = |theme| {
        let terminal = terminal(&app(1), (80, 24), theme);
        let cells = terminal.backend().buffer().content();
        let reset = ratatui::style::Color::Reset;
        cells
            .iter()
            .filter(|cell| cell.fg != reset || cell.bg != reset)
            .count()
    };
    assert_eq!(coloured(PLAIN), 0);
    assert!(coloured(Theme { colours: true }) > 100);
}

#[test]
fn what_is_chosen_of_64_partitions_is_on_the_screen() {
    let mut app = app(64);
    assert!(!screen(&app, (80, 24)).contains("63 MI300X"));
    press(&mut app, &[KeyCode::Tab, KeyCode::End]);
    let shown = screen(&app, (80, 24));
    assert!(
        shown.contains("63 MI300X") && shown.contains("> GPUs 64/64"),
        "{shown}"
    );
    press(&mut app, &[KeyCode::Enter]);
    assert!(screen(&app, (80, 24)).contains("/dev/dri/renderD632"));
}

#[test]
fn details_show_every_xcc() {
    let mut app = app(1);
    press(&mut app, &[KeyCode::Tab, KeyCode::Enter]);
    let shown = screen(&app, (100, 40));
    for line in [
        "units        304: 216 guaranteed, 88 lent, 0 idle",
        "XCC 7",
        "SE0   AAAAAAAAAc AAAAAAAAAc",
        "SE3   ccccccccc  ccccccccc ",
        "B serve: 25Gi of 60Gi in use",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    press(
        &mut app,
        &[KeyCode::Esc, KeyCode::Tab, KeyCode::Down, KeyCode::Enter],
    );
    let shown = screen(&app, (100, 40));
    for line in [
        "owner        serve",
        "25Gi used; 20Gi guaranteed, 60Gi at most, 60Gi can be had now",
        "72 guaranteed, at most 72; the mask in force has 72",
        "4 queue(s) with the slice's mask",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}

#[test]
fn strips_too_wide_for_the_terminal_go_on_in_the_next_line() {
    let mut node = empty_node(1);
    let grid = &mut node.inventory.gpus[0].grid;
    // An MI210: 8 engines of 14 slots.
    (grid.xccs, grid.engines, grid.slots, grid.active_units) = (1, 8, 14, 104);
    let mut app = App::default();
    app.look(node, 0);
    let shown = screen(&app, (80, 24));
    let engine = ".............  ";
    let engines: Vec<usize> = shown.lines().map(|line| line.matches(engine).count()).collect();
    assert_eq!(engines[2..6], [3, 3, 2, 0], "{shown}");
}

#[test]
fn the_dialog_says_what_holds_and_what_is_wished() {
    let mut app = app(1);
    press(
        &mut app,
        &[
            KeyCode::Char('r'),
            KeyCode::Delete,
            KeyCode::Char('5'),
            KeyCode::Char('G'),
            KeyCode::Char('i'),
            KeyCode::Enter,
        ],
    );
    let shown = screen(&app, (80, 24));
    assert!(shown.contains(" resize train "), "{shown}");
    assert!(shown.contains("memory                  40Gi to 5Gi"), "{shown}");
    assert!(shown.contains("Resize it? y: yes"), "{shown}");
}

#[test]
fn a_small_terminal_is_told_what_is_needed() {
    let shown = screen(&app(1), (50, 10));
    assert!(
        shown.starts_with("The terminal has 50x10; sdg top needs 60x14"),
        "{shown}"
    );
    screen(&app(8), (60, 14));
}
