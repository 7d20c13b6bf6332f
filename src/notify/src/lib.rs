//! Seccomp user notifications, for the simulator and the guard: a system call of another process waits until it is
//! answered here. Source: seccomp_unotify(2).
//!
//! ```text
//! listener → receive → Call ─ caller: its memory, its descriptors, its process ─→ answer
//! ```

pub mod caller;
pub mod handover;
mod sys;

pub use sys::{
    Answer, Call, RawCall, RawResponse, answer, is_waiting, kill, pidfd, receive, wake_synchronously,
};
