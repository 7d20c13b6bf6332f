//! The account and the pages under every order in which processes and threads can see one another's work.
//!
//!     RUSTFLAGS="--cfg loom" cargo test --release -p sdg-shim-core --test models --target-dir target/models
//!
//! What runs is the code of the shim; words, files' locks and waiting are `sdg_abi::modelled`'s. A thread of a model is a
//! process where it has an anchor of its own, and else a thread of one. The host's side of a change is here: its words are
//! stored as `src/sys.rs` stores them, by the sequence lock that it uses.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/slice.rs"]
mod slice;

use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use sdg_abi::kfd::{self, CreateQueue, SetCuMask, queue_type};
use sdg_abi::limits::LimitsPage;
use sdg_abi::modelled::{self, Mapped, spawn};
use sdg_abi::words::{AtomicU32, AtomicU64, Guarded};
use sdg_abi::{Plain, ioc_nr, iowr, sequence};
use sdg_shim_core::lock::Lock;
use sdg_shim_core::mask::Mask;
use sdg_shim_core::pages::Usage;
use sdg_shim_core::process::{Anchor, Process};
use sdg_shim_core::{queues, sys};
use slice::Slice;

/// Preemptions that are tried in the larger models: what goes wrong in so small a program needs two or three.
const SOME: Option<usize> = Some(2);
const LIMIT: u64 = 100;

fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    modelled::check(preemptions, model, |mapped: Vec<Mapped>| {
        for Mapped { address, length, .. } in mapped {
            // SAFETY: of the run that is over; every process of it is gone.
            unsafe { libc::munmap(address as *mut libc::c_void, length) };
        }
    });
}

/// The same with a slice whose pages each run finds as they were.
fn check_slice(preemptions: Option<usize>, model: impl Fn(&Slice) + Send + Sync + 'static) {
    let slice = Slice::new(LIMIT);
    check(preemptions, move || model(&slice));
}

/// A process with its pages opened. What is not zero in them is to be known to the model before there are threads.
fn known(anchor: &'static Anchor) -> &'static Process {
    let process = anchor.enter().unwrap();
    let limits = process.pages().limits;
    let _ = (limits.memory_limit(0), limits.memory_total(0), limits.mask(0));
    process
}

/// A process of the slice that has done nothing yet.
fn process(slice: &Slice) -> &'static Process {
    known(Box::leak(Box::new(slice.anchor())))
}

fn with_slot(slice: &Slice) -> &'static Process {
    let process = process(slice);
    assert!(process.reserve(0, 0));
    process
}

fn used(usage: &Usage) -> u64 {
    (0..3).map(|index| usage.slot(index).used(0).load(SeqCst)).sum()
}

/// What the host does to the limits page.
struct Host {
    page: *mut LimitsPage,
}

// SAFETY: the page is a mapping that stays, and its words are atomic.
unsafe impl Send for Host {}

impl Host {
    fn new(slice: &Slice) -> Self {
        let file = sys::File::open(slice.paths.limits, sys::Access::ReadWrite)
            .ok()
            .unwrap();
        let page = sys::map(
            sys::Mapping::Shared(&file),
            size_of::<LimitsPage>(),
            sys::Inheritance::Absent,
        );
        Self {
            page: page.ok().unwrap().cast(),
        }
    }

    fn word32(&self, field: *mut u32) -> &AtomicU32 {
        // SAFETY: a field of the page.
        unsafe { &*field.cast() }
    }

    fn word64(&self, field: *mut u64) -> &AtomicU64 {
        // SAFETY: a field of the page.
        unsafe { &*field.cast() }
    }

    fn set_limit(&self, limit: u64) {
        // SAFETY: a field of the page.
        self.word64(unsafe { &raw mut (*self.page).gpus[0].memory_limit })
            .store(limit, SeqCst);
    }

    /// A mask of two words, each of which is `word`. The weakest stores that the sequence lock allows.
    fn set_mask(&self, word: u32) -> u64 {
        // SAFETY: fields of the page.
        let (lock, mask, generation) = unsafe {
            let head = &raw mut (*self.page).header;
            (
                &raw mut (*head).sequence,
                &raw mut (*self.page).gpus[0].mask,
                &raw mut (*head).generation,
            )
        };
        let generation = self.word64(generation);
        let next = generation.load(Relaxed) + 1;
        let changed: Result<(), ()> = sequence::change(self.word32(lock), || {
            for index in 0..2 {
                // SAFETY: one of the mask's words.
                self.word32(unsafe { mask.cast::<u32>().add(index) })
                    .store(word, Relaxed);
            }
            generation.store(next, SeqCst);
            Ok(())
        });
        changed.unwrap();
        next
    }
}

// What the model itself can tell.

fn store_buffering(order_of_additions: std::sync::atomic::Ordering) {
    check(None, move || {
        let words: &'static [AtomicU64; 2] = Box::leak(Box::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let other = spawn(move || {
            words[0].fetch_add(1, order_of_additions);
            words[1].load(SeqCst)
        });
        words[1].fetch_add(1, order_of_additions);
        let seen = words[0].load(SeqCst);
        assert!(seen + other.join().unwrap() > 0);
    });
}

#[test]
fn additions_in_one_order_see_one_another() {
    store_buffering(SeqCst);
}

#[test]
#[should_panic]
fn additions_in_no_order_need_not() {
    store_buffering(AcqRel);
}

// The account.

#[test]
fn two_that_exclude_one_another_are_never_both_granted() {
    check_slice(SOME, |slice| {
        let (one, two) = (with_slot(slice), with_slot(slice));
        let other = spawn(move || two.reserve(0, 60));
        let granted = u64::from(one.reserve(0, 60)) + u64::from(other.join().unwrap());
        assert!(granted <= 1);
        assert_eq!(
            used(&one.pages().usage),
            granted * 60,
            "what was refused is taken back, what was granted stays"
        );
    });
}

#[test]
fn two_that_begin_at_once_have_slots_of_their_own_and_see_one_another() {
    check_slice(SOME, |slice| {
        let (one, two) = (process(slice), process(slice));
        let other = spawn(move || two.reserve(0, 60));
        let granted = u64::from(one.reserve(0, 60)) + u64::from(other.join().unwrap());
        assert!(granted <= 1);
        assert_eq!(used(&one.pages().usage), granted * 60);
        let usage = one.pages().usage;
        assert!((0..2).all(|index| usage.slot(index).pid().load(Relaxed) != 0));
    });
}

#[test]
fn threads_of_a_process_lose_no_charge_and_no_refund() {
    check_slice(None, |slice| {
        let process = with_slot(slice);
        assert!(process.reserve(0, 40));
        let other = spawn(move || {
            process.release(0, 40);
            process.reserve(0, 5)
        });
        assert!(process.reserve(0, 20));
        process.release(0, 10);
        assert!(other.join().unwrap());
        assert_eq!(used(&process.pages().usage), 15);
    });
}

#[test]
fn threads_that_allocate_first_at_once_take_one_slot() {
    check_slice(SOME, |slice| {
        let process = process(slice);
        let other = spawn(move || process.reserve(0, 10));
        assert!(process.reserve(0, 20));
        assert!(other.join().unwrap());
        let usage = process.pages().usage;
        assert_eq!(usage.high_water().load(SeqCst), 1);
        assert_eq!(usage.slot(0).used(0).load(SeqCst), 30);
    });
}

#[test]
fn a_host_that_lowers_the_limit_sees_what_was_granted_by_the_old_one() {
    check_slice(None, |slice| {
        let process = with_slot(slice);
        let host = Host::new(slice);
        let usage = process.pages().usage;
        let other = spawn(move || {
            host.set_limit(50);
            used(&usage)
        });
        let granted = process.reserve(0, 60);
        let seen = other.join().unwrap();
        assert!(
            !granted || seen == 60,
            "granted beyond the new limit, and the host does not know"
        );
    });
}

#[test]
fn what_the_dead_held_is_had_again_and_nothing_of_the_living() {
    check_slice(Some(1), |slice| {
        let dying = with_slot(slice);
        let keeper = modelled::last_mapped().unwrap();
        assert!(dying.reserve(0, 80));
        let (one, two) = (with_slot(slice), process(slice));
        let death = spawn(move || {
            // SAFETY: the kernel does so at a process's end; nothing of it runs any more.
            unsafe { sys::unmap(keeper.address as *mut u8, keeper.length) };
        });
        // May take the slot of the dead as its own.
        let other = spawn(move || two.reserve(0, 60));
        let granted = u64::from(one.reserve(0, 60));
        let granted = granted + u64::from(other.join().unwrap());
        death.join().unwrap();
        assert!(granted <= 1);
        // Whoever looks now finds the living's charges and no others.
        assert_eq!(one.used(0), granted * 60);
        assert!(one.reserve(0, 30));
    });
}

// The limits page.

#[test]
fn a_mask_is_never_seen_half_changed_and_generations_never_go_back() {
    check_slice(SOME, |slice| {
        let process = process(slice);
        let host = Host::new(slice);
        let other = spawn(move || (host.set_mask(1), host.set_mask(2)));
        let limits = process.pages().limits;
        let mut last = 0;
        for _ in 0..2 {
            let (mask, generation) = limits.mask(0).unwrap();
            let whole = match generation {
                1 => u32::MAX,
                2 => 1,
                _ => 2,
            };
            assert_eq!(mask, Mask::new(64, &[whole; 2]), "of generation {generation}");
            assert!(generation >= last);
            last = generation;
        }
        assert_eq!(other.join().unwrap(), (2, 3));
    });
}

/// The mask that the model's KFD was last given.
static IN_FORCE: Mutex<u32> = Mutex::new(0);

fn device(request: u32, address: usize) -> isize {
    if ioc_nr(request) == kfd::nr::SET_CU_MASK {
        // SAFETY: the argument that the shim gives; its mask has two words at least.
        *IN_FORCE.lock().unwrap() = unsafe {
            let call = &*(address as *const SetCuMask);
            *(call.cu_mask_ptr as *const u32)
        };
    }
    0
}

#[test]
fn a_host_that_changes_masks_waits_for_a_queue_that_has_the_old_one() {
    modelled::set_device(device);
    check_slice(SOME, |slice| {
        let anchor: &'static Anchor = Box::leak(Box::new(slice.anchor()));
        let process = known(anchor);
        assert!(process.reserve(0, 0));
        let host = Host::new(slice);
        let slot = process.pages().usage.slot(0);
        let other = spawn(move || {
            let generation = host.set_mask(1);
            // As `UsageFile::behind` has it.
            slot.masked_queues().load(SeqCst) > 0 && slot.acknowledged().load(SeqCst) < generation
        });
        let mut call = CreateQueue {
            gpu_id: slice::GPU_ID,
            queue_type: queue_type::COMPUTE_AQL,
            ..CreateQueue::zeroed()
        };
        let request = iowr(kfd::IOCTL_TYPE, kfd::nr::CREATE_QUEUE, size_of::<CreateQueue>());
        assert_eq!(queues::create(anchor, 3, request, (&raw mut call) as usize), 0);
        let waits = other.join().unwrap();
        assert!(
            waits || *IN_FORCE.lock().unwrap() == 1,
            "the old mask, and the host does not wait"
        );
    });
}

#[test]
fn a_generation_in_force_is_said_by_who_comes_last_slot_or_masks() {
    modelled::set_device(device);
    check_slice(SOME, |slice| {
        let anchor: &'static Anchor = Box::leak(Box::new(slice.anchor()));
        let process = known(anchor);
        let generation = Host::new(slice).set_mask(1);
        let other = spawn(move || process.reserve(0, 0));
        let words = [u32::MAX; 2];
        // Of no queue of the shim's: only to make a call.
        let mut call = SetCuMask {
            queue_id: 9,
            num_cu_mask: 64,
            cu_mask_ptr: words.as_ptr() as u64,
        };
        let request = iowr(kfd::IOCTL_TYPE, kfd::nr::SET_CU_MASK, size_of::<SetCuMask>());
        assert_eq!(
            queues::set_cu_mask(anchor, 3, request, (&raw mut call) as usize),
            0
        );
        assert!(other.join().unwrap());
        let slot = process.pages().usage.slot(0);
        assert_eq!(slot.acknowledged().load(SeqCst), generation);
    });
}

// The process's own state.

#[test]
fn threads_that_come_first_at_once_find_one_state() {
    check_slice(SOME, |slice| {
        let anchor: &'static Anchor = Box::leak(Box::new(slice.anchor()));
        let place = |process: &Process| std::ptr::from_ref(process) as usize;
        let other = spawn(move || {
            anchor
                .enter()
                .ok()
                .map(|process| (place(process), process.pages().limits.gpu_count()))
        });
        let mine = anchor
            .enter()
            .ok()
            .map(|process| (place(process), process.pages().limits.gpu_count()));
        assert!(mine.is_some());
        assert_eq!(mine, other.join().unwrap());
        assert!(anchor.existing().is_some());
    });
}

#[test]
fn a_lock_lets_one_in_and_wakes_who_waits() {
    struct Counted {
        lock: Lock<Guarded<u32>>,
    }
    check(SOME, || {
        // SAFETY: all zero is an unlocked lock.
        let counted: &'static Counted = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        let add = move || {
            let guard = counted.lock.lock();
            // SAFETY: the lock is held.
            unsafe { *guard.to_write() += 1 };
        };
        let others = [spawn(add), spawn(add)];
        add();
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: nobody else is left.
        assert_eq!(unsafe { *counted.lock.lock().to_read() }, 3);
    });
}
