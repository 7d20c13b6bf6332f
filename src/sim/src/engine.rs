//! The engines: one thread a process runs its queues.
//!
//! A program rings a doorbell by a store to memory, which nothing can wait for: the thread looks at the doorbells of
//! its queues, often while there is work and ever more seldom when there is none (see [`pause_after`]), and whenever the
//! program waits for an event. A process without queues has no thread.
//!
//! Addresses in packets are the process's: they lead to a buffer's bytes in the GPU's memfd, or to the process's own
//! memory. Queues of one process take turns packet by packet, so that a barrier on one queue sees the other go on.

pub mod aql;
pub mod blit;
pub mod load;
pub mod pm4;
pub mod run;
pub mod sdma;
mod words;

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use self::run::{Kind, Progress, QueueRun, RunState};
use crate::device::space::AddressSpace;

/// Raises the interrupt that sets an event of a process.
pub trait Interrupts: Send + Sync {
    /// Sets event `event` of process `pid`, or those that wrote to their slots, where it is none of them.
    fn raise(&self, pid: i32, event: u32);
}

/// What packets act upon.
pub struct Context {
    pid: i32,
    space: Arc<RwLock<AddressSpace>>,
    interrupts: Arc<dyn Interrupts>,
    /// Events that the packet at hand has set. The interrupts come after it: they are a matter of the machine, which may
    /// be waiting for the packet's end.
    raised: RefCell<Vec<u32>>,
}

/// Ticks a second of the GPU's clock (100 MHz on CDNA).
pub const CLOCK_HZ: u64 = 100_000_000;

/// The GPU's clock.
pub fn gpu_clock() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME) / (1_000_000_000 / CLOCK_HZ)
}

/// A clock of the host's, in nanoseconds.
pub fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

impl Context {
    /// Reads bytes at an address of the process.
    pub fn read<const N: usize>(&self, address: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_into(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads bytes at an address of the process.
    pub fn read_into(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.space
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .read(address, bytes)
    }

    /// Reads a 64-bit word.
    pub fn read_u64(&self, address: u64) -> io::Result<u64> {
        self.read(address).map(u64::from_le_bytes)
    }

    /// Writes bytes at an address of the process.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.space
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .write(address, bytes)
    }

    /// Sets an event of the process, when the packet is over.
    pub fn raise(&self, event: u32) {
        self.raised.borrow_mut().push(event);
    }

    fn interrupt(&self) {
        for event in self.raised.take() {
            self.interrupts.raise(self.pid, event);
        }
    }
}

#[derive(Debug)]
struct Shared {
    queues: Mutex<Vec<Arc<QueueRun>>>,
    stop: AtomicBool,
}

/// The thread that runs a process's queues.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts the thread of process `pid`.
    pub fn start(
        pid: i32,
        space: Arc<RwLock<AddressSpace>>,
        interrupts: Arc<dyn Interrupts>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queues: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let context = Context {
            pid,
            space,
            interrupts,
            raised: RefCell::default(),
        };
        let thread = thread::Builder::new()
            .name(format!("engine {pid}"))
            .spawn(move || of_thread.run(&context))?;
        Ok(Self { shared, thread })
    }

    /// Runs another queue from now on.
    pub fn add(&self, queue: Arc<QueueRun>) {
        self.shared
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(queue);
        self.thread.thread().unpark();
    }

    /// Looks at the doorbells now: somebody waits for what a queue does.
    pub fn look(&self) {
        self.thread.thread().unpark();
    }

    /// Ends the thread; it may still finish the packet it is at.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

impl Shared {
    fn run(&self, context: &Context) {
        let mut running: Vec<(Arc<QueueRun>, RunState)> = Vec::new();
        let mut last_work = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            let new = std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner));
            running.extend(new.into_iter().map(|queue| (queue, RunState::default())));
            running
                .extract_if(.., |(queue, _)| queue.has_ended())
                .for_each(|(queue, state)| state.leave(&queue));
            let mut until = None;
            let mut worked = false;
            for (queue, state) in &mut running {
                match step(context, queue, state) {
                    Progress::Done => worked = true,
                    Progress::Until(time) => {
                        until = Some(until.map_or(time, |other: Instant| other.min(time)))
                    }
                    Progress::Idle => {}
                }
            }
            let now = Instant::now();
            if worked {
                last_work = now;
                continue;
            }
            let pause = pause_after(now - last_work);
            thread::park_timeout(until.map_or(pause, |time| pause.min(time.saturating_duration_since(now))));
        }
        running.iter().for_each(|(queue, state)| state.leave(queue));
    }
}

/// How long to sleep before the doorbells are looked at again, after so long without work: in the long run a hundredth
/// of it, so that work comes late by no more than that, and 10 times a second at least.
fn pause_after(idle: Duration) -> Duration {
    match idle.as_millis() {
        0 => Duration::from_micros(10),
        1..20 => Duration::from_micros(100),
        20..1000 => Duration::from_millis(1),
        _ => (idle / 100).min(Duration::from_millis(100)),
    }
}

/// Runs the next packet of a queue. A packet that cannot be read or that makes no sense stops its queue, as a fault
/// does on the hardware.
fn step(context: &Context, queue: &QueueRun, state: &mut RunState) -> Progress {
    let turn = queue.turn();
    if !queue.is_active() || state.faulted {
        return Progress::Idle;
    }
    let result = match queue.kind {
        Kind::Aql => aql::step(context, queue, state),
        Kind::Sdma(_) => sdma::step(context, queue, state),
        Kind::Pm4 => pm4::step(context, queue, state),
    };
    drop(turn);
    context.interrupt();
    result.unwrap_or_else(|error| {
        state.faulted = true;
        queue.fault(error.to_string());
        Progress::Idle
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_engine_looks_ever_more_seldom() {
        let idle = [0, 1, 19, 20, 999, 1000, 5000, 10_000, 1_000_000].map(Duration::from_millis);
        let pauses = idle.map(|idle| pause_after(idle).as_micros());
        assert_eq!(
            pauses,
            [10, 100, 100, 1000, 1000, 10_000, 50_000, 100_000, 100_000]
        );
    }
}
