//! What the shim knows of its own process. All of it lives in one mapping that a forked child finds zeroed, and all zero
//! means "nothing done yet": a child begins afresh, with no lock held and no memory charged, as the KFD sees it too.

use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use sdg_abi::limits::MAX_GPUS;
use sdg_abi::words::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Guarded};

use crate::array::Array;
use crate::lock::Lock;
use crate::pages::{Limits, Paths, Usage};
use crate::queues::Queues;
use crate::ranges::Ranges;
use crate::report::{self, Refusal};
use crate::sys::{self, Inheritance, Mapping};
use crate::table::Table;
use crate::watcher::Watcher;

/// The two pages, open.
#[derive(Clone, Copy)]
pub struct Pages {
    /// What the slice may have.
    pub limits: Limits,
    /// What the slice uses.
    pub usage: Usage,
}

/// The process's state; all zero is the state of one that has done nothing.
pub struct Process {
    is_open: AtomicBool,
    opening: Lock<()>,
    pages: Guarded<MaybeUninit<Pages>>,
    /// Index of the process's slot in the usage page, plus one.
    pub(crate) own_slot: AtomicU32,
    pub(crate) taking_slot: Lock<()>,
    /// Generation whose masks all queues have.
    pub(crate) applied: AtomicU64,
    /// KFD buffers.
    pub(crate) buffers: Lock<Table>,
    /// DRM buffers.
    pub(crate) gem: Lock<Table>,
    /// Shared virtual memory.
    pub(crate) svm: Lock<Ranges>,
    /// Compute queues.
    pub(crate) queues: Lock<Queues>,
    /// The thread that applies masks.
    pub(crate) watcher: Watcher,
    /// Descriptors with a KFD context of their own.
    pub(crate) contexts: Lock<Array<i32>>,
    /// Whether there is any such context.
    pub(crate) has_contexts: AtomicBool,
    /// Bytes of each GPU that this process takes for the total: it has read the view once, whatever a resize brings.
    pub(crate) totals: [AtomicU64; MAX_GPUS],
}

// SAFETY: `pages` is written once, under `opening`, before `is_open` says that it may be read.
unsafe impl Sync for Process {}

impl Process {
    /// The pages.
    pub fn pages(&self) -> &Pages {
        // SAFETY: a `&Process` is given out by `Anchor` only after `is_open` was seen, hence after `pages` was written.
        unsafe { (*self.pages.to_read()).assume_init_ref() }
    }

    fn open(&self, paths: Paths) -> Result<(), Refusal> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let _opening = self.opening.lock();
        if !self.is_open.load(Ordering::Acquire) {
            let pages = Pages {
                limits: Limits::open(paths.limits)?,
                usage: Usage::open(paths.usage)?,
            };
            for (gpu, total) in self.totals.iter().enumerate().take(pages.limits.gpu_count()) {
                total.store(pages.limits.memory_total(gpu), Ordering::Relaxed);
            }
            // SAFETY: nobody reads before `is_open`, nobody else writes under the lock.
            unsafe { (*self.pages.to_write()).write(pages) };
            self.applied.store(pages.limits.generation(), Ordering::Relaxed);
            self.is_open.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Where a process finds its state.
pub struct Anchor {
    process: AtomicPtr<Process>,
    paths: Paths,
}

impl Anchor {
    /// An anchor for pages at these paths.
    pub const fn new(paths: Paths) -> Self {
        Self {
            process: AtomicPtr::new(core::ptr::null_mut()),
            paths,
        }
    }

    /// Where the pages are.
    pub fn paths(&self) -> Paths {
        self.paths
    }

    /// The process's state, if it has opened its pages.
    pub fn existing(&self) -> Option<&Process> {
        // SAFETY: the pointer is null or a mapping that stays.
        let process = unsafe { self.process.load(Ordering::Acquire).as_ref() }?;
        process.is_open.load(Ordering::Acquire).then_some(process)
    }

    /// The process's state, with its pages opened.
    pub fn enter(&self) -> Result<&Process, Refusal> {
        if let Some(process) = self.existing() {
            return Ok(process);
        }
        let process = self.place()?;
        process.open(self.paths)?;
        Ok(process)
    }

    /// As [`Self::enter`]; where that fails, the reason is said once and the call is to fail with ENOMEM.
    pub(crate) fn enter_or_refuse(&self) -> Option<&Process> {
        self.enter().map_err(report::refuse).ok()
    }

    fn place(&self) -> Result<&Process, Refusal> {
        // SAFETY: the pointer is null or a mapping that stays.
        if let Some(process) = unsafe { self.process.load(Ordering::Acquire).as_ref() } {
            return Ok(process);
        }
        let fresh =
            sys::map(Mapping::Anonymous, size_of::<Process>(), Inheritance::Zeroed).map_err(|error| {
                Refusal {
                    path: self.paths.usage,
                    reason: crate::report::Reason::Map(error),
                }
            })?;
        let none = core::ptr::null_mut();
        match self
            .process
            .compare_exchange(none, fresh.cast(), Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: a fresh mapping of that size, zeroed, is a valid `Process` (see its description), and it stays.
            Ok(_) => Ok(unsafe { &*fresh.cast::<Process>() }),
            Err(other) => {
                // SAFETY: the fresh mapping was not shown to anyone; `other` is a mapping that stays.
                unsafe {
                    sys::unmap(fresh, size_of::<Process>());
                    Ok(&*other)
                }
            }
        }
    }
}
