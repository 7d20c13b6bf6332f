//! What the engine and the calls share of a queue.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sdg_abi::kfd::queue_type;
use serde::Serialize;

use super::load::GpuLoad;
use super::pm4::Commands;
use crate::sys::SharedWords;

/// A doorbell that was never rung: no index reaches it.
const SILENT: u64 = u64::MAX;

/// What a queue takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Compute by PM4 packets.
    Pm4,
    /// Compute by AQL packets.
    Aql,
    /// Copies; the type's number as the caller gave it.
    Sdma(u32),
}

impl Kind {
    /// The kind of a `queue_type`.
    pub fn of(number: u32) -> Option<Self> {
        match number {
            queue_type::COMPUTE => Some(Self::Pm4),
            queue_type::COMPUTE_AQL => Some(Self::Aql),
            queue_type::SDMA | queue_type::SDMA_XGMI | queue_type::SDMA_BY_ENG_ID => Some(Self::Sdma(number)),
            _ => None,
        }
    }

    /// The `queue_type`.
    pub fn number(self) -> u32 {
        match self {
            Self::Pm4 => queue_type::COMPUTE,
            Self::Aql => queue_type::COMPUTE_AQL,
            Self::Sdma(number) => number,
        }
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pm4 => "compute-pm4",
            Self::Aql => "compute-aql",
            Self::Sdma(_) => "sdma",
        }
    }

    /// Whether it runs kernels.
    pub fn is_compute(self) -> bool {
        !matches!(self, Self::Sdma(_))
    }
}

/// A ring buffer: address and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// What a queue's dispatches come to: items by time is the throughput of its mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Dispatches that began.
    pub dispatches: u64,
    /// Their work-items.
    pub items: u64,
    /// How long they run by the model, in microseconds.
    pub microseconds: f64,
}

/// A queue as the engine runs it.
#[derive(Debug)]
pub struct QueueRun {
    /// What it takes.
    pub kind: Kind,
    /// Number of its doorbell.
    pub doorbell: usize,
    /// The load of its GPU.
    pub load: Arc<GpuLoad>,
    /// Address of the read pointer.
    pub read_pointer: u64,
    doorbells: Arc<SharedWords>,
    ring: Mutex<Ring>,
    active: AtomicBool,
    ended: AtomicBool,
    /// Held while a packet is run.
    turn: Mutex<()>,
    units: AtomicU32,
    work: Mutex<Work>,
    fault: Mutex<Option<String>>,
}

/// How far the engine is; its own.
#[derive(Debug, Default)]
pub struct RunState {
    /// The read index: packets of AQL, bytes of SDMA, words of PM4.
    pub read: u64,
    /// The dispatch that runs: when it ends, and the GPU's clock when it began.
    pub running: Option<(Instant, u64)>,
    /// The indirect buffers of PM4 packets that it is in.
    pub commands: Commands,
    /// It has been in the indirect buffer of the AQL packet at hand.
    pub entered: bool,
    /// The queue stopped at a packet that made no sense.
    pub faulted: bool,
}

impl RunState {
    /// Takes a dispatch that still runs off its GPU: the queue is left.
    pub fn leave(&self, queue: &QueueRun) {
        if self.running.is_some() {
            queue.load.end();
        }
    }
}

/// What came of looking at a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A packet was taken.
    Done,
    /// Nothing to do, or a packet waits for memory to change.
    Idle,
    /// A packet takes until then.
    Until(Instant),
}

impl QueueRun {
    /// A queue, active where its ring has a place; its doorbell is silent.
    pub fn new(
        kind: Kind,
        ring: Ring,
        read_pointer: u64,
        (doorbells, doorbell): (Arc<SharedWords>, usize),
        load: Arc<GpuLoad>,
    ) -> Self {
        doorbells.store(doorbell, SILENT);
        Self {
            kind,
            doorbell,
            load,
            read_pointer,
            doorbells,
            ring: Mutex::new(ring),
            active: AtomicBool::new(ring.base != 0 && ring.size != 0),
            ended: AtomicBool::new(false),
            turn: Mutex::new(()),
            units: AtomicU32::new(1),
            work: Mutex::default(),
            fault: Mutex::new(None),
        }
    }

    /// The last value that the doorbell was rung with.
    pub fn rung(&self) -> Option<u64> {
        Some(self.doorbells.load(self.doorbell)).filter(|value| *value != SILENT)
    }

    /// The ring.
    pub fn ring(&self) -> Ring {
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the ring, and whether the queue runs.
    pub fn update(&self, ring: Ring, active: bool) {
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = ring;
        self.active.store(active, Ordering::Release);
    }

    /// Whether the queue runs.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire) && !self.has_ended()
    }

    /// A packet's turn.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue is destroyed. No packet of it is run when this returns: what they write to may be given back.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        drop(self.turn());
    }

    /// Whether the queue is destroyed.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Effective compute units.
    pub fn units(&self) -> u32 {
        self.units.load(Ordering::Relaxed)
    }

    /// Sets the effective compute units.
    pub fn set_units(&self, units: u32) {
        self.units.store(units, Ordering::Relaxed);
    }

    /// A dispatch begins. Returns how long it takes.
    pub fn begin_dispatch(&self, items: u64) -> Duration {
        let duration = self.load.begin(items, self.units());
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.dispatches += 1;
        work.items += items;
        work.microseconds += duration.as_secs_f64() * 1e6;
        duration
    }

    /// What the dispatches came to so far.
    pub fn work(&self) -> Work {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue stops, for this reason.
    pub fn fault(&self, why: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the queue stopped, where it did.
    pub fn why_stopped(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::memory_file;

    fn queue() -> QueueRun {
        let doorbells = SharedWords::map(&memory_file("test", 4096).unwrap(), 0, 4096).unwrap();
        let load = Arc::new(GpuLoad::new(8192, 1300));
        let ring = Ring {
            base: 4096,
            size: 4096,
        };
        QueueRun::new(Kind::Aql, ring, 0, (Arc::new(doorbells), 0), load)
    }

    #[test]
    fn a_queue_s_end_waits_for_the_packet_at_hand() {
        let (queue, is_over) = (queue(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let packet = queue.turn();
            scope.spawn(|| {
                queue.end();
                is_over.store(true, Ordering::Release);
            });
            while !queue.has_ended() {
                std::thread::yield_now();
            }
            // Time to go on, for an end that does not wait.
            std::thread::sleep(Duration::from_millis(20));
            assert!(!is_over.load(Ordering::Acquire));
            drop(packet);
        });
        assert!(is_over.into_inner());
    }

    #[test]
    fn throughput_follows_the_units() {
        let rate = |units: u32| {
            let queue = queue();
            queue.set_units(units);
            queue.begin_dispatch(1 << 26);
            let work = queue.work();
            assert_eq!((work.dispatches, work.items), (1, 1 << 26));
            work.items as f64 / work.microseconds
        };
        assert!((rate(288) / rate(72) - 4.0).abs() < 0.05);
    }
}
