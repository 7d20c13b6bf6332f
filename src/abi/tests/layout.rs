//! What is unsafe in the layouts, as Miri can watch it (`make miri`), and the sequence lock between two threads.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(not(loom))]

use std::sync::atomic::Ordering::Relaxed;

use sdg_abi::kfd::{AllocMemory, nr};
use sdg_abi::limits::{GpuLimits, LimitsPage};
use sdg_abi::usage::UsagePage;
use sdg_abi::words::{AtomicU32, AtomicU64};
use sdg_abi::{Plain, ioc_nr, ioc_size, ioc_type, iowr, sequence};

#[test]
fn a_structure_is_its_bytes() {
    let mut call = AllocMemory::zeroed();
    call.va_addr = 0x0102_0304_0506_0708;
    call.flags = 0x8000_0001;
    // One byte further than any alignment.
    let mut bytes = vec![0xff];
    bytes.extend(call.as_bytes());
    assert_eq!(bytes[1..9], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(AllocMemory::from_prefix(&bytes[1..]), call);
    // Less than the structure, none of it, more than it.
    let first = AllocMemory {
        flags: 0,
        gpu_id: 0,
        ..call
    };
    assert_eq!(AllocMemory::from_prefix(&bytes[1..12]), first);
    assert_eq!(AllocMemory::from_prefix(&[]), AllocMemory::zeroed());
    bytes.extend([7; 100]);
    assert_eq!(AllocMemory::from_prefix(&bytes[1..]), call);
}

#[test]
fn pages_are_plain() {
    let mut page = LimitsPage::zeroed();
    page.gpus[63].mask[31] = 7;
    assert_eq!(LimitsPage::from_prefix(page.as_bytes()).gpus[63].mask[31], 7);
    assert_eq!(
        GpuLimits::from_prefix(&page.as_bytes()[64 + 63 * 192..]).mask[31],
        7
    );
    assert_eq!(UsagePage::zeroed().as_bytes().last(), Some(&0));
}

#[test]
fn a_request_has_its_parts() {
    let request = iowr(b'K', nr::ALLOC_MEMORY_OF_GPU, size_of::<AllocMemory>());
    assert_eq!(request, 0xc028_4b16);
    assert_eq!(
        (ioc_nr(request), ioc_type(request), ioc_size(request)),
        (0x16, b'K', 40)
    );
}

#[test]
fn what_is_read_beside_a_writer_is_whole() {
    let (lock, words) = (AtomicU32::new(0), [AtomicU64::new(0), AtomicU64::new(0)]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for value in 1..50 {
                let changed = sequence::change(&lock, || {
                    words.iter().for_each(|word| word.store(value, Relaxed));
                    Ok::<_, ()>(())
                });
                changed.unwrap();
            }
        });
        let mut last = 0;
        while last < 49 {
            if let Some([one, two]) =
                sequence::read(&lock, || words.each_ref().map(|word| word.load(Relaxed)))
            {
                assert!(one == two && one >= last, "{one} and {two} after {last}");
                last = one;
            }
            std::thread::yield_now();
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_change_that_fails_leaves_readers_waiting() {
    let lock = AtomicU32::new(6);
    assert_eq!(sequence::change(&lock, || Err("no")), Err("no"));
    assert_eq!(sequence::read(&lock, || ()), None);
    sequence::change(&lock, || Ok::<_, ()>(())).unwrap();
    assert_eq!((lock.load(Relaxed), sequence::read(&lock, || ())), (8, Some(())));
}
