//! Words that threads and processes share: those of the pages, and of the shim's own state.
//!
//! They are `core`'s atomics and a cell. Built with `--cfg loom` they are those of [`crate::modelled`], which look the
//! same and tell [loom] of every operation, so that the code that uses them is what the models try out.
//!
//! [loom]: https://docs.rs/loom

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};

#[cfg(loom)]
pub use crate::modelled::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};

use core::cell::UnsafeCell;

/// Whether this is a model: what is tried again or looked through there must be little, since every order is tried.
pub const MODELLED: bool = cfg!(loom);

/// A value that is read and written by turns, which other words see to.
#[repr(transparent)]
#[derive(Debug)]
pub struct Guarded<T>(UnsafeCell<T>);

impl<T> Guarded<T> {
    /// Where the value is, to read it at once.
    #[inline(always)]
    pub fn to_read(&self) -> *const T {
        #[cfg(loom)]
        crate::modelled::reads(self.0.get() as usize);
        self.0.get()
    }

    /// Where the value is, to write it at once.
    #[inline(always)]
    pub fn to_write(&self) -> *mut T {
        #[cfg(loom)]
        crate::modelled::writes(self.0.get() as usize);
        self.0.get()
    }
}
