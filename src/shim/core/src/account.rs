//! The slice's account: reserving before the kernel is asked, releasing after it has freed.

use core::sync::atomic::Ordering;

use sdg_abi::usage::{LOCK_BASE, MAX_SLOTS, SWEEP_LOCK};

use crate::pages::Slot;
use crate::process::Process;
use crate::report::{self, Reason, Refusal};
use crate::sys::{self, File, Inheritance, Mapping};

impl Process {
    /// Charges `bytes` on a GPU to this process, if the slice's limit allows it.
    ///
    /// The process adds first and looks at the sum afterwards: of several that do so at once, the last to add sees all
    /// the others, so they never exceed the limit together.
    pub fn reserve(&self, gpu: usize, bytes: u64) -> bool {
        let Some(slot) = self.slot() else { return false };
        self.try_reserve(slot, gpu, bytes) || self.reserve_when_short(slot, gpu, bytes)
    }

    /// Takes a charge back.
    pub fn release(&self, gpu: usize, bytes: u64) {
        let own = self.own_slot.load(Ordering::Acquire) as usize;
        if let Some(index) = own.checked_sub(1) {
            take_back(self.pages().usage.slot(index), gpu, bytes);
        }
    }

    /// Bytes that the slice uses on a GPU: nothing of the dead is left in it.
    pub fn used(&self, gpu: usize) -> u64 {
        self.reclaim();
        let usage = &self.pages().usage;
        let own = self.own_slot.load(Ordering::Acquire) as usize;
        let own = own
            .checked_sub(1)
            .map_or(0, |index| usage.slot(index).used(gpu).load(Ordering::SeqCst));
        let sum = self.sum(gpu);
        if sum == own {
            return sum;
        }
        if let Ok(file) = usage.reopen() {
            self.sweep(&file);
        }
        self.sum(gpu)
    }

    /// Bytes of a GPU that are free as this process sees them: of a slice that has grown since, what belongs to the
    /// total that the process knows. Programs reckon what is used as total less free.
    pub fn available(&self, gpu: usize) -> u64 {
        let limit = self.pages().limits.memory_limit(gpu);
        let total = self
            .totals
            .get(gpu)
            .map_or(0, |total| total.load(Ordering::Relaxed));
        limit.min(total).saturating_sub(self.used(gpu))
    }

    /// The process's slot, taken at the first call.
    pub(crate) fn slot(&self) -> Option<Slot> {
        let own = self.own_slot.load(Ordering::Acquire) as usize;
        match own.checked_sub(1) {
            Some(index) => Some(self.pages().usage.slot(index)),
            None => self.take_slot().map_err(report::refuse).ok(),
        }
    }

    /// The limit counts that is there after the addition. A host that lowers it looks at what is used afterwards: so
    /// either the host sees the addition, or this process the lower limit.
    fn try_reserve(&self, slot: Slot, gpu: usize, bytes: u64) -> bool {
        let limits = &self.pages().limits;
        if bytes > limits.memory_limit(gpu) {
            return false;
        }
        slot.used(gpu).fetch_add(bytes, Ordering::SeqCst);
        let sum = self.sum(gpu);
        if sum > limits.memory_limit(gpu) {
            take_back(slot, gpu, bytes);
            return false;
        }
        let peak = self.pages().usage.peak();
        if sum > peak.load(Ordering::Relaxed) {
            peak.fetch_max(sum, Ordering::Relaxed);
        }
        true
    }

    #[cold]
    fn reserve_when_short(&self, slot: Slot, gpu: usize, bytes: u64) -> bool {
        let usage = &self.pages().usage;
        self.reclaim();
        // One at a time: two that both added before either looked would both be refused. The lock goes with `file`.
        let file = usage.reopen().ok();
        if let Some(file) = &file {
            wait_for_turn(file);
        }
        for attempt in 0..3 {
            if attempt > 0 {
                // Another's attempt that is just failing, or a process that is just dying.
                sys::sleep_microseconds(50);
            }
            if let Some(file) = &file {
                self.sweep(file);
            }
            if self.try_reserve(slot, gpu, bytes) {
                return true;
            }
        }
        usage.refused().fetch_add(1, Ordering::Relaxed);
        false
    }

    fn sum(&self, gpu: usize) -> u64 {
        let usage = &self.pages().usage;
        (0..usage.slots_in_use()).fold(0u64, |sum, index| {
            sum.saturating_add(usage.slot(index).used(gpu).load(Ordering::SeqCst))
        })
    }

    /// Clears the slots of processes that are gone. The lock of a slot's byte is the right to clear it, so that nobody
    /// can take the slot meanwhile.
    fn sweep(&self, file: &File) {
        let usage = &self.pages().usage;
        let own = self.own_slot.load(Ordering::Acquire) as usize;
        for index in (0..usage.slots_in_use()).filter(|index| index + 1 != own) {
            let slot = usage.slot(index);
            let byte = LOCK_BASE + index as u64;
            if slot.holds_anything() && file.try_lock(byte) == Ok(true) {
                slot.clear();
                file.unlock(byte);
            }
        }
    }

    #[cold]
    fn take_slot(&self) -> Result<Slot, Refusal> {
        let _taking = self.taking_slot.lock();
        let usage = &self.pages().usage;
        if let Some(index) = (self.own_slot.load(Ordering::Acquire) as usize).checked_sub(1) {
            return Ok(usage.slot(index));
        }
        let file = usage.reopen()?;
        let index = lock_a_slot(&file).map_err(|reason| usage.refusal(reason))?;
        if !usage.has_room(&file, index) {
            return Err(usage.refusal(Reason::NoRoom));
        }
        // The mapping keeps the open file, and with it the lock, until the process is gone.
        let keeper = sys::map(Mapping::ReadOnly(&file), KEEPER, Inheritance::Absent);
        let keeper = keeper.map_err(|error| usage.refusal(Reason::Map(error)))?;
        drop(file);
        if usage.reopen()?.is_locked(LOCK_BASE + index as u64) != Ok(true) {
            // SAFETY: mapped above; nothing points into it.
            unsafe { sys::unmap(keeper, KEEPER) };
            return Err(usage.refusal(Reason::ForgetsLocks));
        }
        let slot = usage.slot(index);
        slot.clear();
        slot.pid().store(sys::getpid(), Ordering::Relaxed);
        usage.high_water().fetch_max(index as u32 + 1, Ordering::SeqCst);
        self.own_slot.store(index as u32 + 1, Ordering::SeqCst);
        self.acknowledge();
        Ok(slot)
    }
}

/// Bytes of the mapping that keeps a slot's lock.
const KEEPER: usize = 4096;

fn take_back(slot: Slot, gpu: usize, bytes: u64) {
    // Never below zero, whatever someone may have scribbled on the page.
    let less = |used: u64| Some(used.saturating_sub(bytes));
    let _ = slot
        .used(gpu)
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
}

fn lock_a_slot(file: &File) -> Result<usize, Reason> {
    // A second look, since a sweep holds the lock of a free slot for a moment.
    for _ in 0..2 {
        for index in 0..MAX_SLOTS {
            if file.try_lock(LOCK_BASE + index as u64).map_err(Reason::Lock)? {
                return Ok(index);
            }
        }
    }
    Err(Reason::Full)
}

/// Waits for the turn, but not for ever: its holder may be stopped by a debugger.
fn wait_for_turn(file: &File) {
    for _ in 0..200 {
        if file.try_lock(SWEEP_LOCK) != Ok(false) {
            return;
        }
        sys::sleep_microseconds(100);
    }
}
