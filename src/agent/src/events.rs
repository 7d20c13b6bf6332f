//! What guard and watchdog have done since the agent started, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Guarded calls that went on to the driver.
pub static CALLS_ALLOWED: Counter = Counter::new();
/// Guarded calls that were refused.
pub static CALLS_REFUSED: Counter = Counter::new();
/// Processes found with more than their slice, or with unmasked queues.
pub static OFFENCES: Counter = Counter::new();
/// Processes killed for it.
pub static KILLS: Counter = Counter::new();
