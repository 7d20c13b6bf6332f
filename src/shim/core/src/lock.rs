//! A mutual exclusion lock that needs no set-up: all zero is an unlocked one, as in a freshly forked child.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use sdg_abi::words::{AtomicU32, Guarded, MODELLED};

use crate::sys;

const FREE: u32 = 0;
const HELD: u32 = 1;
const AWAITED: u32 = 2;

/// How often a thread looks again before it sleeps.
const LOOKS: usize = if MODELLED { 1 } else { 64 };

/// A value that one thread at a time may touch.
pub struct Lock<T> {
    state: AtomicU32,
    value: Guarded<T>,
}

// SAFETY: `state` lets one thread at a time reach the value.
unsafe impl<T> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        if self
            .state
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.wait();
        }
        Guard { lock: self }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let taken = self
            .state
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        taken.then(|| Guard { lock: self })
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..LOOKS {
            core::hint::spin_loop();
            if self
                .state
                .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
        while self.state.swap(AWAITED, Ordering::Acquire) != FREE {
            sys::futex_wait(&self.state, AWAITED);
        }
    }
}

/// The lock, held.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.value.to_read() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and this guard is borrowed for writing.
        unsafe { &mut *self.lock.value.to_write() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if self.lock.state.swap(FREE, Ordering::Release) == AWAITED {
            sys::futex_wake(&self.lock.state);
        }
    }
}
