//! What threads of one process share, and memory of a program's that the shim copies: where ThreadSanitizer and
//! AddressSanitizer (`make sanitize`) see what is touched that should not be.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/slice.rs"]
mod slice;

use std::thread;

use sdg_shim_core::caller;
use sdg_shim_core::lock::Lock;
use slice::Slice;

const THREADS: usize = 4;

/// Runs the same on several threads. Each is joined by name: ThreadSanitizer knows of that, and not of a scope's end.
fn at_once(act: impl Fn() + Sync) {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(&act)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_lock_s_value_is_one_thread_s_at_a_time() {
    // SAFETY: all zero is an unlocked lock around zero.
    let counted: Lock<u64> = unsafe { std::mem::zeroed() };
    at_once(|| {
        for _ in 0..5000 {
            *counted.lock() += 1;
            if let Some(mut counted) = counted.try_lock() {
                *counted += 1;
            }
        }
    });
    let counted = *counted.lock();
    assert!(
        (5000 * THREADS as u64..=10_000 * THREADS as u64).contains(&counted),
        "{counted}"
    );
}

#[test]
fn threads_that_begin_at_once_share_one_account() {
    for _ in 0..20 {
        let slice = Slice::new(1000);
        let anchor = slice.anchor();
        at_once(|| {
            let process = anchor.enter().ok().unwrap();
            for _ in 0..50 {
                assert!(process.reserve(0, 100));
                process.release(0, 100);
            }
            assert!(process.reserve(0, 7));
        });
        assert_eq!(slice.noted(), 7 * THREADS as u64);
        assert_eq!(slice.usage().header.high_water, 1);
    }
}

#[test]
fn just_the_bytes_that_are_asked_for_are_copied() {
    let original: Vec<u8> = (0..5000).map(|number| number as u8).collect();
    for length in (1..80).chain([255, 256, 4095, 4096, 4097]) {
        for start in [0, 1, 7, 500] {
            let given = original[start..start + length].to_vec();
            let mut copy = vec![0; length];
            assert!(caller::read(given.as_ptr() as usize, &mut copy), "{length} bytes");
            assert_eq!(copy, given);
            if length >= 8 {
                let mut target = vec![0; length];
                assert!(
                    caller::write(target.as_mut_ptr() as usize, &given),
                    "{length} bytes"
                );
                assert_eq!(target, given);
            }
        }
    }
}
