//! The account of a slice, kept by several processes on a usage page.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/slice.rs"]
mod slice;

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use sdg_abi::usage::{LOCK_BASE, MAX_SLOTS};
use sdg_shim_core::process::{Anchor, Process};
use slice::{Random, Slice, Worker, limits_page};

#[test]
fn processes_share_one_limit() {
    let slice = Slice::new(100);
    let (one, two) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(one.reserve(60));
    assert!(!two.reserve(41));
    assert!(two.reserve(40));
    assert!(!one.reserve(1));
    assert_eq!((one.available(), two.available()), (0, 0));
    one.release(60);
    assert!(two.reserve(60));
    assert_eq!(slice.noted(), 100);
    let head = slice.usage().header;
    assert_eq!((head.peak, head.refused), (100, 2));
}

#[test]
fn a_killed_process_s_memory_can_be_had_at_once() {
    let slice = Slice::new(100);
    let (one, two) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(one.reserve(70) && two.reserve(30));
    one.kill();
    assert_eq!(two.available(), 70);
    assert!(two.reserve(70));
    assert_eq!(slice.noted(), 100);
    assert!(!two.reserve(1));
}

#[test]
fn memory_of_the_dead_is_found_when_it_is_needed_without_asking_first() {
    let slice = Slice::new(100);
    let (one, two) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(one.reserve(100));
    one.kill();
    assert_eq!(slice.noted(), 100);
    assert!(two.reserve(100));
}

#[test]
fn a_forked_child_begins_afresh() {
    let slice = Slice::new(100);
    let anchor = slice.anchor();
    let parent = anchor.enter().unwrap();
    assert!(parent.reserve(0, 60));
    let child = Worker::fork(&anchor);
    // What the parent holds is not the child's to release.
    child.release(60);
    assert_eq!(slice.noted(), 60);
    assert!(child.reserve(40));
    assert!(!child.reserve(1));
    child.kill();
    assert!(parent.reserve(0, 40));
    assert_eq!(slice.noted(), 100);
}

#[test]
fn a_child_does_not_keep_its_killed_parent_s_share_alive() {
    let slice = Slice::new(100);
    let (parent, other) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(parent.reserve(60));
    let child = parent.fork_idler();
    assert!(!other.reserve(50));
    parent.kill();
    assert!(child.is_alive());
    assert!(other.reserve(100));
}

#[test]
fn exec_gives_everything_back() {
    let slice = Slice::new(100);
    let (one, two) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(one.reserve(100));
    assert!(!two.reserve(1));
    one.exec();
    assert!(two.reserve(100));
}

#[test]
fn closing_every_descriptor_changes_nothing() {
    let slice = Slice::new(100);
    let (one, two) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(one.reserve(60));
    one.close_all();
    assert!(!two.reserve(41));
    assert!(one.reserve(40));
    one.release(100);
    assert!(two.reserve(100));
}

/// Bytes that racers may have together: one or two of them at a time.
const LIMIT: u64 = 1000;

#[test]
fn threads_of_several_processes_never_exceed_the_limit_together() {
    let slice = Slice::new(LIMIT);
    let anchor = slice.anchor();
    let held = shared_counter();
    let racers: Vec<libc::pid_t> = (0..4).map(|seed| fork_racer(&anchor, held, seed)).collect();
    for racer in racers {
        let mut status = 0;
        // SAFETY: a child of this process.
        unsafe { libc::waitpid(racer, &raw mut status, 0) };
        assert_eq!(status, 0, "more than the limit was granted");
    }
    let head = slice.usage().header;
    assert!(
        head.peak <= LIMIT && head.peak > LIMIT / 2 && head.refused > 0,
        "no contention: {head:?}"
    );
    assert_eq!((slice.noted(), held.load(Ordering::SeqCst)), (0, 0));
}

/// A number that forked processes share.
fn shared_counter() -> &'static AtomicU64 {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, zeroed, that stays.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        &*page.cast::<AtomicU64>()
    }
}

/// A process whose threads take and give back; its status says whether more than the limit was ever held by all.
fn fork_racer(anchor: &Anchor, held: &'static AtomicU64, seed: u64) -> libc::pid_t {
    // SAFETY: the child uses threads of its own and leaves by _exit; the harness's other threads are not in it.
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        return pid;
    }
    let process = anchor.enter().unwrap();
    let kept = std::thread::scope(|scope| {
        let racers: Vec<_> = (1..5)
            .map(|thread| scope.spawn(move || race(process, held, &Random::new(seed * 100 + thread))))
            .collect();
        racers
            .into_iter()
            .all(|racer| racer.join().is_ok_and(|kept| kept))
    });
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(i32::from(!kept)) };
}

/// What is held is counted only after it was granted, and no longer before it is given back: never too much.
fn race(process: &Process, held: &AtomicU64, random: &Random) -> bool {
    let mut kept = true;
    for round in 0..10_000 {
        let bytes = 300 + random.below(400);
        if process.reserve(0, bytes) {
            kept &= held.fetch_add(bytes, Ordering::SeqCst) + bytes <= LIMIT;
            if round % 256 == 0 {
                // Long enough for the others to come and be refused, however the machine schedules them.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            held.fetch_sub(bytes, Ordering::SeqCst);
            process.release(0, bytes);
        }
    }
    kept
}

#[test]
fn no_slot_left_means_no_memory_until_one_is_free() {
    let slice = Slice::new(100);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(slice.directory.path().join("usage"))
        .unwrap();
    let all = |kind: i32| libc::flock {
        l_type: kind as libc::c_short,
        l_whence: 0,
        l_start: LOCK_BASE as i64,
        l_len: MAX_SLOTS as i64,
        l_pid: 0,
    };
    let lock = |kind| {
        // SAFETY: a `struct flock` for a descriptor that is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &all(kind)) }
    };
    assert_eq!(lock(libc::F_WRLCK), 0);
    let worker = Worker::fork(&slice.anchor());
    assert!(!worker.reserve(1));
    assert_eq!(lock(libc::F_UNLCK), 0);
    assert!(worker.reserve(100));
}

#[test]
fn a_hundred_processes_each_have_a_slot() {
    let slice = Slice::new(100);
    let anchor = slice.anchor();
    let workers: Vec<Worker> = (0..100).map(|_| Worker::fork(&anchor)).collect();
    assert!(workers.iter().all(|worker| worker.reserve(1)));
    assert!(!workers[0].reserve(1));
    let pids: std::collections::HashSet<u32> = slice.usage().slots.iter().map(|slot| slot.pid).collect();
    assert_eq!(pids.len(), 101);
    drop(workers);
    let last = Worker::fork(&anchor);
    assert!(last.reserve(100));
    assert_eq!(slice.noted(), 100);
}

#[test]
fn free_memory_of_a_grown_slice_ends_at_the_total_that_the_process_knows() {
    let slice = Slice::new(100);
    let mut page = limits_page(80);
    page.gpus[0].memory_total = 100;
    slice.write_limits(&page);
    let early = Worker::fork(&slice.anchor());
    assert_eq!(early.available(), 80);
    (page.gpus[0].memory_limit, page.gpus[0].memory_total) = (150, 150);
    slice.write_limits(&page);
    let late = Worker::fork(&slice.anchor());
    assert_eq!((early.available(), late.available()), (100, 150));
    assert!(early.reserve(120));
    assert_eq!((early.available(), late.available()), (0, 30));
}

#[test]
fn a_new_limit_holds_at_once() {
    let slice = Slice::new(100);
    let worker = Worker::fork(&slice.anchor());
    assert!(worker.reserve(100));
    slice.write_limits(&limits_page(150));
    assert_eq!(worker.available(), 50);
    assert!(worker.reserve(50));
    slice.write_limits(&limits_page(120));
    assert_eq!(worker.available(), 0);
    assert!(!worker.reserve(1));
    worker.release(50);
    assert!(worker.reserve(20));
    assert!(!worker.reserve(1));
}

#[test]
fn where_the_path_leads_elsewhere_nobody_is_taken_for_dead() {
    let slice = Slice::new(100);
    let (one, two) = (Worker::fork(&slice.anchor()), Worker::fork(&slice.anchor()));
    assert!(one.reserve(60) && two.reserve(10));
    // Another file at the path: on it no lock is held, though everybody lives.
    let path = slice.directory.path().join("usage");
    std::fs::rename(&path, path.with_extension("moved")).unwrap();
    std::fs::copy(path.with_extension("moved"), &path).unwrap();
    assert!(!two.reserve(31));
    assert!(two.reserve(30));
    assert_eq!(one.available(), 0);
    std::fs::remove_file(&path).unwrap();
    assert!(!two.reserve(1));
    two.release(30);
    assert!(one.reserve(30));
}

#[test]
fn absurd_sizes_are_refused() {
    let slice = Slice::new(100);
    let worker = Worker::fork(&slice.anchor());
    assert!(worker.reserve(1));
    for bytes in [101, u64::MAX, u64::MAX - 50, 1 << 63] {
        assert!(!worker.reserve(bytes));
    }
    assert!(worker.reserve(99));
}
