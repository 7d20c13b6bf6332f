//! The sequence lock of the limits page: one writer, who never waits for readers, and readers who notice that they have
//! read beside him.
//!
//! Both sides may touch the words in between with relaxed operations. What the writer looks at after a change, and the
//! reader did before he read, is in one order for both (sequentially consistent): of a writer that then counts queues and
//! a process that counted its queue before it read the mask, at least one sees the other.

use core::sync::atomic::Ordering;

use crate::words::{AtomicU32, fence};

/// Changes what the lock guards. The caller is the only writer: a number that is odd already is that of one who was killed
/// in the middle, and `write` has to write everything again.
///
/// # Errors
/// Those of `write`; the number stays odd then, and readers wait for the next change.
pub fn change<E>(sequence: &AtomicU32, write: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    let odd = sequence.load(Ordering::Relaxed) | 1;
    sequence.store(odd, Ordering::Relaxed);
    // Whoever reads a word of the change sees the odd number as well.
    fence(Ordering::Release);
    write()?;
    sequence.store(odd.wrapping_add(1), Ordering::SeqCst);
    Ok(())
}

/// Reads what the lock guards; none where a change was under way.
pub fn read<T>(sequence: &AtomicU32, read: impl FnOnce() -> T) -> Option<T> {
    let before = sequence.load(Ordering::SeqCst);
    if before & 1 == 1 {
        return None;
    }
    let value = read();
    fence(Ordering::Acquire);
    (sequence.load(Ordering::Relaxed) == before).then_some(value)
}
