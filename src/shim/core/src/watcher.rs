//! The thread that brings new masks to the queues of a program that makes no KFD calls of its own accord: it sleeps on the
//! limits page's generation, which the host raises and wakes by.
//!
//! It begins with the process's first masked queue and is one a process. A forked child, whose state is all zero, has
//! none until a queue of its own. Where no thread can be had (a container's limit of processes), masks are applied at the
//! process's next KFD call, and the next queue tries again.

use core::sync::atomic::Ordering;

use sdg_abi::words::AtomicU32;

use crate::process::Process;
use crate::thread;

/// How long a change could be missed whose waking did not come through, in seconds.
const LOOKS_AGAIN_AFTER: u64 = 1;

const ABSENT: u32 = 0;
const RUNS: u32 = 1;

/// Whether the thread is there; all zero is not.
pub struct Watcher(AtomicU32);

impl Process {
    /// Starts the thread, unless it runs.
    pub(crate) fn watch_masks(&self) {
        let state = &self.watcher.0;
        if state.load(Ordering::Relaxed) == RUNS
            || state
                .compare_exchange(ABSENT, RUNS, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        if thread::start(run, core::ptr::from_ref(self) as usize).is_err() {
            state.store(ABSENT, Ordering::Release);
        }
    }
}

extern "C" fn run(process: usize) -> ! {
    // SAFETY: a `Process` is given out only with its pages opened, and stays for the life of the process.
    let process = unsafe { &*(process as *const Process) };
    thread::name(c"sdg-masks");
    thread::drop_capabilities();
    let limits = &process.pages().limits;
    loop {
        let generation = limits.generation();
        process.keep_up();
        limits.wait_for_change(generation, LOOKS_AGAIN_AFTER);
    }
}
