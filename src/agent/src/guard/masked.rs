//! Which queues of guarded processes have been given a mask within their slice: what the kernel's list of queues does
//! not show, and the watchdog wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Queue ids by pid.
static MASKED: Mutex<BTreeMap<i32, BTreeSet<u32>>> = Mutex::new(BTreeMap::new());

fn masked() -> MutexGuard<'static, BTreeMap<i32, BTreeSet<u32>>> {
    MASKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guarded process: none of its queues has a mask yet.
pub fn begin(pid: i32) {
    masked().entry(pid).or_default();
}

/// A queue is given a mask.
pub fn add(pid: i32, queue: u32) {
    masked().entry(pid).or_default().insert(queue);
}

/// A queue is about to be made: of the ids that are free now, one is the new queue's, and a mask that an earlier queue of
/// that id had says nothing about it.
pub fn keep(pid: i32, existing: &BTreeSet<u32>) {
    masked()
        .entry(pid)
        .or_default()
        .retain(|queue| existing.contains(queue));
}

/// A process is gone.
pub fn end(pid: i32) {
    masked().remove(&pid);
}

/// The queues of a guarded process that have a mask; none for a process that is not guarded.
pub fn of(pid: i32) -> Option<BTreeSet<u32>> {
    masked().get(&pid).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_given_back_has_no_mask_any_more() {
        let pid = -7;
        assert_eq!(of(pid), None);
        begin(pid);
        add(pid, 0);
        add(pid, 1);
        keep(pid, &BTreeSet::from([1, 2]));
        assert_eq!(of(pid), Some(BTreeSet::from([1])));
        end(pid);
        assert_eq!(of(pid), None);
    }
}
