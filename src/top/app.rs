//! What `sdg top` shows and how keys change it. Pure: looks at a node come in, wishes go out.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::events::Events;
use super::letters::Letters;
use super::resize::{Resize, Wish};
use super::rows::{Rows, SliceRow, Sort};
use crate::snapshot::Snapshot;

/// Rows that a page key moves by.
const PAGE: isize = 10;

/// A pane of the overview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// GPUs.
    Gpus,
    /// Slices.
    #[default]
    Slices,
}

/// What fills the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// GPUs, slices and events.
    #[default]
    Overview,
    /// All about a GPU, by index.
    Gpu(u32),
    /// All about a slice, by id.
    Slice(String),
    /// Keys and signs.
    Help,
}

/// What the terminal's side has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Look at the node now.
    Look,
    /// Resize a slice.
    Resize(Wish),
}

/// The whole state.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// The last look.
    pub snapshot: Snapshot,
    /// Letters of the slices.
    pub letters: Letters,
    /// Rows, sorted.
    pub rows: Rows,
    /// What happened since the start.
    pub events: Events,
    /// Seconds since the Unix epoch, at the last look.
    pub now: u64,
    /// Where keys go.
    pub pane: Pane,
    /// What is shown.
    pub view: View,
    /// Position of the chosen GPU.
    pub gpu: usize,
    /// Position of the chosen slice in [`Rows::slices`].
    pub slice: usize,
    /// What slices are sorted by.
    pub sort: Sort,
    /// The other way round.
    pub reversed: bool,
    /// Lines that a detail view is scrolled by.
    pub scroll: u16,
    /// A resize that is being typed.
    pub resize: Option<Resize>,
    /// One line for the person: how the last wish went.
    pub message: Option<String>,
    has_looked: bool,
}

impl App {
    /// Takes in a look at the node.
    pub fn look(&mut self, snapshot: Snapshot, now: u64) {
        if self.has_looked {
            self.events.note((&self.snapshot, &snapshot), now);
        }
        self.has_looked = true;
        self.now = now;
        self.letters.update(&snapshot);
        self.snapshot = snapshot;
        self.sort_rows();
    }

    /// The chosen slice.
    pub fn chosen(&self) -> Option<&SliceRow> {
        self.rows.slices.get(self.slice)
    }

    /// Says how a wish went.
    pub fn tell(&mut self, message: String) {
        self.message = Some(message);
    }

    /// Rows anew; the chosen slice stays chosen wherever it moves.
    fn sort_rows(&mut self) {
        let chosen = self.chosen().map(|row| row.id.clone());
        self.rows = Rows::new(&self.snapshot, &self.letters);
        self.sort.apply(&mut self.rows.slices, self.reversed);
        let slices = &self.rows.slices;
        let moved = chosen.and_then(|id| slices.iter().position(|row| row.id == id));
        self.slice = moved.unwrap_or(self.slice.min(slices.len().saturating_sub(1)));
        self.gpu = self.gpu.min(self.rows.gpus.len().saturating_sub(1));
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Action::Quit);
        }
        if let Some(resize) = &mut self.resize {
            let outcome = resize.key(key.code);
            if outcome.is_over() {
                self.resize = None;
            }
            return outcome.into_wish().map(Action::Resize);
        }
        self.message = None;
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Esc if self.view == View::Overview => return Some(Action::Quit),
            KeyCode::Char(' ') => return Some(Action::Look),
            KeyCode::Char('r') => self.begin_resize(),
            code if self.view == View::Overview => self.overview_key(code),
            code => self.detail_key(code),
        }
        None
    }

    fn overview_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Tab | KeyCode::BackTab => {
                self.pane = match self.pane {
                    Pane::Gpus => Pane::Slices,
                    Pane::Slices => Pane::Gpus,
                };
            }
            KeyCode::Enter => self.open_detail(),
            KeyCode::Char('?') => self.show(View::Help),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.sort_rows();
            }
            KeyCode::Char('S') => {
                self.reversed = !self.reversed;
                self.sort_rows();
            }
            code => self.choose(movement(code)),
        }
    }

    fn detail_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => self.show(View::Overview),
            code => {
                let lines = movement(code).clamp(-(u16::MAX as isize), u16::MAX as isize);
                let scroll = isize::from(self.scroll as i16).saturating_add(lines);
                self.scroll = scroll.clamp(0, i16::MAX as isize) as u16;
            }
        }
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.scroll = 0;
    }

    fn open_detail(&mut self) {
        let view = match self.pane {
            Pane::Gpus => self.rows.gpus.get(self.gpu).map(|row| View::Gpu(row.index)),
            Pane::Slices => self.chosen().map(|row| View::Slice(row.id.clone())),
        };
        if let Some(view) = view {
            self.show(view);
        }
    }

    fn choose(&mut self, movement: isize) {
        let (chosen, count) = match self.pane {
            Pane::Gpus => (&mut self.gpu, self.rows.gpus.len()),
            Pane::Slices => (&mut self.slice, self.rows.slices.len()),
        };
        *chosen = chosen
            .saturating_add_signed(movement)
            .min(count.saturating_sub(1));
    }

    fn begin_resize(&mut self) {
        let id = match &self.view {
            View::Slice(id) => Some(id.clone()),
            View::Overview if self.pane == Pane::Slices => self.chosen().map(|row| row.id.clone()),
            _ => None,
        };
        let slices = self.snapshot.slices.iter();
        let slice = slices
            .map(|slice| &slice.record)
            .find(|record| Some(&record.id) == id.as_ref());
        match slice {
            Some(record) => self.resize = Some(Resize::new(record)),
            None => self.tell("choose a slice to resize (Tab, then the arrow keys)".to_owned()),
        }
    }
}

/// How far a key moves.
fn movement(code: KeyCode) -> isize {
    match code {
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::PageUp => -PAGE,
        KeyCode::PageDown => PAGE,
        KeyCode::Home | KeyCode::Char('g') => isize::MIN,
        KeyCode::End | KeyCode::Char('G') => isize::MAX,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures::{GI, add_slice, empty_node};

    fn app() -> App {
        let mut node = empty_node(8);
        for (name, used) in [("one", 1), ("two", 3), ("three", 2)] {
            add_slice(&mut node, (name, "memory=10Gi compute=250m"), used * GI);
        }
        let mut app = App::default();
        app.look(node, 2000);
        app
    }

    fn press(app: &mut App, codes: &[KeyCode]) -> Option<Action> {
        let mut last = None;
        for code in codes {
            last = app.key(KeyEvent::from(*code));
        }
        last
    }

    #[test]
    fn the_chosen_slice_stays_chosen_through_sorting_and_looks() {
        let mut app = app();
        press(&mut app, &[KeyCode::Down]);
        assert_eq!(app.chosen().unwrap().owner, "two");
        // Age → owner → GPU → used.
        press(&mut app, &[KeyCode::Char('s'); 3]);
        assert_eq!((app.slice, app.chosen().unwrap().owner.as_str()), (0, "two"));
        press(&mut app, &[KeyCode::Char('S')]);
        assert_eq!((app.slice, app.chosen().unwrap().owner.as_str()), (2, "two"));
        let mut snapshot = app.snapshot.clone();
        snapshot
            .slices
            .retain(|slice| slice.record.name.as_deref() != Some("two"));
        app.look(snapshot, 2001);
        assert_eq!(app.chosen().unwrap().owner, "three", "the last one there is");
        assert_eq!(app.events.iter().next().unwrap().text, "gone");
    }

    #[test]
    fn keys_move_within_what_there_is() {
        let mut app = app();
        press(&mut app, &[KeyCode::End]);
        assert_eq!(app.slice, 2);
        press(&mut app, &[KeyCode::Tab, KeyCode::PageDown]);
        assert_eq!((app.gpu, app.slice), (7, 2));
        press(&mut app, &[KeyCode::Home, KeyCode::Up, KeyCode::Enter]);
        assert_eq!(app.view, View::Gpu(0));
        press(&mut app, &[KeyCode::Down, KeyCode::Down, KeyCode::Up]);
        assert_eq!(app.scroll, 1);
        assert_eq!(press(&mut app, &[KeyCode::Esc]), None);
        assert_eq!(app.view, View::Overview);
        assert_eq!(press(&mut app, &[KeyCode::Esc]), Some(Action::Quit));
    }

    #[test]
    fn a_resize_needs_a_slice() {
        let mut app = app();
        press(&mut app, &[KeyCode::Tab, KeyCode::Char('r')]);
        assert!(app.resize.is_none());
        assert!(app.message.as_deref().unwrap().contains("choose a slice"));
        press(&mut app, &[KeyCode::Tab, KeyCode::Char('r')]);
        assert!(app.resize.is_some());
        // Keys go to the dialog now, all but Ctrl-C.
        assert_eq!(press(&mut app, &[KeyCode::Char('q')]), None);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.key(interrupt), Some(Action::Quit));
    }
}
