//! How long a kernel would run: a model, not a measurement.
//!
//! A kernel's instructions are not looked at. Each work-item is taken to cost the same: a compute unit finishes
//! [`WAVES_PER_UNIT_AND_US`] waves a microsecond, on the queue's effective units
//! ([`crate::cu_map::Reach::effective_units`]), and moves [`BYTES_PER_ITEM`] bytes over the GPU's memory bus, which
//! the dispatches that run at the same time share. The slower of the two counts, and [`LAUNCH`] comes on top.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Time from doorbell to first wave.
const LAUNCH: Duration = Duration::from_micros(5);
/// Waves of 64 that a unit finishes in a microsecond.
const WAVES_PER_UNIT_AND_US: f64 = 4.0;
/// Work-items in a wave.
const ITEMS_PER_WAVE: f64 = 64.0;
/// Bytes that a work-item moves.
const BYTES_PER_ITEM: f64 = 16.0;

/// What goes on at one GPU.
#[derive(Debug)]
pub struct GpuLoad {
    bytes_per_us: f64,
    running: AtomicU32,
}

impl GpuLoad {
    /// For a memory bus of `width_bits` at `clock_mhz` with two transfers a clock.
    pub fn new(width_bits: u64, clock_mhz: u64) -> Self {
        let bytes_per_us = (width_bits * clock_mhz * 2 / 8).max(1) as f64;
        Self {
            bytes_per_us,
            running: AtomicU32::new(0),
        }
    }

    /// A dispatch begins. Returns how long it takes.
    pub fn begin(&self, items: u64, units: u32) -> Duration {
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        duration(items, units, self.bytes_per_us / f64::from(running))
    }

    /// A dispatch is over.
    pub fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn duration(items: u64, units: u32, bytes_per_us: f64) -> Duration {
    let items = items as f64;
    let compute = (items / ITEMS_PER_WAVE).ceil() / (f64::from(units.max(1)) * WAVES_PER_UNIT_AND_US);
    let memory = items * BYTES_PER_ITEM / bytes_per_us;
    LAUNCH + Duration::from_nanos((compute.max(memory) * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_units_take_twice_as_long() {
        let load = GpuLoad::new(8192, 1300);
        let whole = load.begin(1 << 26, 288) - LAUNCH;
        load.end();
        let half = load.begin(1 << 26, 144) - LAUNCH;
        assert!((half.as_secs_f64() / whole.as_secs_f64() - 2.0).abs() < 0.01);
    }

    #[test]
    fn dispatches_at_the_same_time_share_the_bus() {
        let load = GpuLoad::new(64, 100);
        let first = load.begin(1 << 20, 1000) - LAUNCH;
        let second = load.begin(1 << 20, 1000) - LAUNCH;
        assert!((second.as_secs_f64() / first.as_secs_f64() - 2.0).abs() < 0.01);
    }
}
