//! `sdg top`: GPUs and slices on a terminal.
//!
//! ```text
//! Snapshot ─→ App: letters, rows, events (pure) ─→ draw (a frame) ─→ terminal (the only I/O)
//!               ↑ keys ─────────────────────────────── wishes (resize) ┘
//! ```

pub mod app;
pub mod bar;
mod draw;
pub mod events;
pub mod letters;
pub mod resize;
pub mod rows;
pub mod strip;
pub mod terminal;
