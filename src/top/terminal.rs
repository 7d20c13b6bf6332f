//! The terminal: taken over, drawn on, read from, and given back however it ends.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::app::{Action, App};
use super::draw::{draw, theme::Theme};
use super::resize::Wish;
use crate::host::now;
use crate::snapshot::Snapshot;

/// Longest wait for a key: how late a signal may be noticed.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why there is nothing to be seen.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// No terminal.
    #[error("stdin and stdout have to be a terminal (for scripts there is `sdg slice list --watch`)")]
    NoTerminal,
    /// It does not do as told.
    #[error("{operation} the terminal: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl TerminalError {
    fn of(operation: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

/// The node that is looked at. Errors are a line each, for the person.
pub trait Node {
    /// Looks at it.
    fn look(&mut self) -> Result<Snapshot, String>;
    /// Resizes a slice; says what became of it.
    fn resize(&mut self, wish: &Wish) -> Result<String, String>;
}

/// Whether colours may be used. Source: no-color.org.
pub fn theme() -> Theme {
    let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    Theme {
        colours: !is_forbidden && !is_dumb,
    }
}

/// Shows a node until the person quits or a signal ends it. A panic, too, gives the terminal back first.
pub fn run(node: &mut dyn Node, interval: Duration) -> Result<(), TerminalError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(TerminalError::NoTerminal);
    }
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))
            .map_err(TerminalError::of("wait for signals of"))?;
    }
    let mut terminal = ratatui::try_init().map_err(TerminalError::of("take over"))?;
    let shown = show(node, interval, (&mut terminal, &stopped));
    let restored = ratatui::try_restore().map_err(TerminalError::of("restore"));
    if stopped.load(Ordering::Relaxed) {
        // A terminal that was closed cannot be restored.
        return Ok(());
    }
    shown.and(restored)
}

fn show(
    node: &mut dyn Node,
    interval: Duration,
    (terminal, stopped): (&mut DefaultTerminal, &AtomicBool),
) -> Result<(), TerminalError> {
    let theme = theme();
    let mut app = App::default();
    let mut next = Instant::now();
    while !stopped.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            look(node, &mut app);
            next = Instant::now() + interval;
        }
        terminal
            .draw(|frame| draw(&app, frame, theme))
            .map_err(TerminalError::of("draw on"))?;
        let wait = next.saturating_duration_since(Instant::now()).min(PATIENCE);
        if !is_there_after(wait).map_err(TerminalError::of("wait for"))? {
            return Ok(());
        }
        while event::poll(Duration::ZERO).map_err(TerminalError::of("wait for"))? {
            let Event::Key(key) = event::read().map_err(TerminalError::of("read from"))? else {
                continue;
            };
            let action = (key.kind == KeyEventKind::Press).then(|| app.key(key)).flatten();
            match action {
                Some(Action::Quit) => return Ok(()),
                Some(Action::Look) => next = Instant::now(),
                Some(Action::Resize(wish)) => {
                    let (Ok(message) | Err(message)) = node.resize(&wish);
                    look(node, &mut app);
                    app.tell(message);
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Waits for input or a signal; whether the terminal is there still: crossterm reads a closed one for ever.
fn is_there_after(wait: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(
        &mut watched,
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX),
    ) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    Ok(!watched[0].revents().is_some_and(|events| events.intersects(gone)))
}

/// What cannot be read this time stays as it was.
fn look(node: &mut dyn Node, app: &mut App) {
    match node.look() {
        Ok(snapshot) => app.look(snapshot, now()),
        Err(message) => app.tell(message),
    }
}
