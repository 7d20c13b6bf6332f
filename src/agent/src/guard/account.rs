//! What a slice has, by the kernel's figures: is there room for what is asked, and is a mask within the slice's?
//!
//! A call that was let through shows in the figures only when the driver has done it. Until then it is in flight and
//! counts as well, so that of two threads that ask at once for the last of the memory one gets it.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sdg::ledger::pages::{InForce, LimitsFile, PageError};
use sdg::ledger::record::SliceRecord;
use sdg::ledger::store::Ledger;
use sdg::ledger::usage::UsageFile;
use sdg::sys::Access;

use super::ranges::Ranges;
use super::{mask, masked};
use crate::figures::Figures;

/// After so long the driver has done a call, or its thread is not going to be waited for.
const SETTLED: Duration = Duration::from_millis(20);
/// How long a call waits for others in flight at most.
const PATIENCE: Duration = Duration::from_millis(200);
/// A mask that was in force until now may just be on its way to the driver.
const MASK_GRACE: Duration = Duration::from_secs(1);

/// A thread and the process that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Thread id.
    pub tid: i32,
    /// Process id.
    pub pid: i32,
}

/// A slice's account, shared by all its containers.
#[derive(Debug)]
pub struct Account {
    directory: PathBuf,
    gpu_ids: Vec<u32>,
    xcc_counts: Vec<u32>,
    limits: LimitsFile,
    figures: Figures,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    processes: HashMap<i32, Process>,
    in_flight: Vec<InFlight>,
    masks: Vec<InForce>,
    masks_before: Option<(Vec<InForce>, Instant)>,
}

#[derive(Debug)]
struct Process {
    /// Readable when it is gone.
    end: OwnedFd,
    /// What it has through render nodes, a GPU each.
    gem: Vec<u64>,
    /// What it has placed, a GPU each.
    ranges: Vec<Ranges>,
}

#[derive(Debug)]
struct InFlight {
    tid: i32,
    gpu: usize,
    bytes: u64,
    since: Instant,
}

impl Account {
    /// Of a slice.
    pub fn open(ledger: &Ledger, record: &SliceRecord, figures: Figures) -> Result<Self, PageError> {
        let directory = ledger.slice_dir(&record.id);
        let limits = LimitsFile::open(&directory, Access::Read)?;
        let state = State {
            masks: limits.read()?,
            ..State::default()
        };
        Ok(Self {
            gpu_ids: record.gpus.iter().map(|grant| grant.gpu_id).collect(),
            xcc_counts: limits.xcc_counts()?,
            limits,
            directory,
            figures,
            state: Mutex::new(state),
        })
    }

    /// gpu_id of each GPU.
    pub fn gpu_ids(&self) -> &[u32] {
        &self.gpu_ids
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that a thread is of, known from now on until it ends.
    pub fn enter(&self, tid: i32) -> std::io::Result<Caller> {
        let mut state = self.state();
        // A thread's last call is over when it makes another.
        state.in_flight.retain(|call| call.tid != tid);
        state.forget_the_dead();
        let known = state
            .processes
            .keys()
            .find(|pid| sdg_notify::caller::is_thread_of(tid, **pid));
        if let Some(pid) = known.copied() {
            return Ok(Caller { tid, pid });
        }
        let pid = sdg_notify::caller::process_of(tid)
            .ok_or_else(|| std::io::Error::from(nix::errno::Errno::ESRCH))?;
        let process = Process {
            end: sdg_notify::pidfd(pid)?,
            gem: vec![0; self.gpu_ids.len()],
            ranges: vec![Ranges::default(); self.gpu_ids.len()],
        };
        state.processes.insert(pid, process);
        masked::begin(pid);
        Ok(Caller { tid, pid })
    }

    /// Whether so many bytes fit; then they are in flight.
    pub fn reserve(&self, caller: Caller, gpu: usize, bytes: u64) -> Result<bool, PageError> {
        let begin = Instant::now();
        loop {
            let mut state = self.state();
            state.in_flight.retain(|call| call.since.elapsed() < SETTLED);
            let limits = self.limits.read()?;
            let limit = limits.get(gpu).map_or(0, |limits| limits.memory_limit);
            let used = self.used(&state, gpu, bytes)?;
            if used.saturating_add(bytes) > limit || begin.elapsed() > PATIENCE {
                return Ok(false);
            }
            let in_flight = state
                .in_flight
                .iter()
                .filter(|call| call.gpu == gpu)
                .map(|call| call.bytes);
            if in_flight.fold(used, u64::saturating_add).saturating_add(bytes) <= limit {
                state.in_flight.push(InFlight {
                    tid: caller.tid,
                    gpu,
                    bytes,
                    since: Instant::now(),
                });
                return Ok(true);
            }
            drop(state);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Bytes that the slice has on a GPU. Where the kernel does not tell, what the containers' shims say, who have added
    /// what they now ask for already.
    fn used(&self, state: &State, gpu: usize, asked: u64) -> Result<u64, PageError> {
        if !self.figures.are_shown() {
            let usage = UsageFile::open(&self.directory)?.read(self.gpu_ids.len())?;
            // Who has spoiled the page gets nothing more.
            let used = usage.map_or(u64::MAX, |usage| usage.used.get(gpu).copied().unwrap_or(0));
            return Ok(used.saturating_sub(asked));
        }
        let gpu_id = self.gpu_ids.get(gpu).copied().unwrap_or(0);
        let of = |(pid, process): (&i32, &Process)| {
            self.figures
                .vram(*pid, gpu_id)
                .max(process.gem.get(gpu).copied().unwrap_or(0))
        };
        Ok(state.processes.iter().map(of).fold(0, u64::saturating_add))
    }

    /// Whether a buffer of a render node fits. `held` is what the kernel says that the descriptor holds, where it does;
    /// else what was let through counts until the process ends.
    pub fn reserve_gem(
        &self,
        caller: Caller,
        (gpu, bytes): (usize, u64),
        held: Option<u64>,
    ) -> Result<bool, PageError> {
        self.with_gem(caller, gpu, |gem| *gem = held.unwrap_or(*gem));
        let fits = self.reserve(caller, gpu, bytes)?;
        if fits {
            self.with_gem(caller, gpu, |gem| *gem = gem.saturating_add(bytes));
        }
        Ok(fits)
    }

    fn with_gem(&self, caller: Caller, gpu: usize, change: impl FnOnce(&mut u64)) {
        let mut state = self.state();
        let process = state.processes.get_mut(&caller.pid);
        if let Some(gem) = process.and_then(|process| process.gem.get_mut(gpu)) {
            change(gem);
        }
    }

    /// Whether what a range adds to what the process has placed before fits.
    pub fn reserve_range(
        &self,
        caller: Caller,
        gpu: usize,
        (start, end): (u64, u64),
    ) -> Result<bool, PageError> {
        let added = self
            .with_ranges(caller, gpu, |ranges| ranges.missing(start, end))
            .unwrap_or(0);
        let fits = added == 0 || self.reserve(caller, gpu, added)?;
        if fits {
            self.with_ranges(caller, gpu, |ranges| ranges.add(start, end));
        }
        Ok(fits)
    }

    fn with_ranges<T>(&self, caller: Caller, gpu: usize, act: impl FnOnce(&mut Ranges) -> T) -> Option<T> {
        let mut state = self.state();
        let process = state.processes.get_mut(&caller.pid)?;
        process.ranges.get_mut(gpu).map(act)
    }

    /// A compute queue is about to be made.
    pub fn expect_queue(&self, caller: Caller) {
        let existing: BTreeSet<u32> = self
            .figures
            .queues(caller.pid)
            .iter()
            .map(|queue| queue.id)
            .collect();
        masked::keep(caller.pid, &existing);
    }

    /// Whether a queue may have a mask: within what the slice has on the queue's GPU, and on every XCC.
    pub fn admit_mask(&self, caller: Caller, queue: u32, words: &[u32]) -> Result<bool, PageError> {
        let gpus = self.gpus_of(caller.pid, queue);
        let (now, before) = self.masks()?;
        let is_within = |in_force: &[InForce]| {
            gpus.clone().all(|gpu| {
                let xccs = self.xcc_counts.get(gpu).copied().unwrap_or(1);
                in_force
                    .get(gpu)
                    .is_some_and(|limits| mask::is_within(words, limits.mask.words(), xccs))
            })
        };
        let fits = is_within(&now) || before.is_some_and(|before| is_within(&before));
        if fits {
            masked::add(caller.pid, queue);
        }
        Ok(fits)
    }

    /// The GPU of a queue; all of the slice where the kernel does not tell which.
    fn gpus_of(&self, pid: i32, queue: u32) -> std::ops::Range<usize> {
        let found = self
            .figures
            .queues(pid)
            .into_iter()
            .find(|found| found.id == queue);
        let gpu = found.and_then(|found| self.gpu_ids.iter().position(|gpu_id| *gpu_id == found.gpu_id));
        gpu.map_or(0..self.gpu_ids.len(), |gpu| gpu..gpu + 1)
    }

    /// Masks in force, and those that were until a moment ago: a shim that has read them cannot know better.
    fn masks(&self) -> Result<(Vec<InForce>, Option<Vec<InForce>>), PageError> {
        let now = self.limits.read()?;
        let mut state = self.state();
        if now != state.masks {
            let before = std::mem::replace(&mut state.masks, now.clone());
            state.masks_before = Some((before, Instant::now()));
        }
        state
            .masks_before
            .take_if(|(_, since)| since.elapsed() > MASK_GRACE);
        Ok((now, state.masks_before.as_ref().map(|(masks, _)| masks.clone())))
    }
}

impl State {
    fn forget_the_dead(&mut self) {
        self.processes.retain(|pid, process| {
            let mut ends = [PollFd::new(process.end.as_fd(), PollFlags::POLLIN)];
            let is_over = poll(&mut ends, PollTimeout::ZERO).is_ok_and(|count| count > 0);
            if is_over {
                masked::end(*pid);
            }
            !is_over
        });
    }
}
