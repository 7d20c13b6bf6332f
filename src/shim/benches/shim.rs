//! What the shim costs: a call that it passes on, beside the same call through libc; and its bookkeeping for a buffer.
#![allow(clippy::unwrap_used, reason = "benchmarks")]
#![allow(missing_docs, reason = "criterion's macros")]

#[path = "../tests/support/library.rs"]
mod library;
#[path = "../core/tests/support/slice.rs"]
mod slice;

use std::ffi::{CString, c_int, c_ulong};
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use criterion::Criterion;
use sdg_abi::kfd::{self, AllocMemory, AvailableMemory, CreateQueue, FreeMemory};
use sdg_abi::{Plain, iowr};
use sdg_shim_core::table::{Charge, Key, Table};

type Ioctl = unsafe extern "C" fn(c_int, c_ulong, *mut c_int) -> c_int;

/// `ioctl` as libc has it and as `libsdg.so` has it, both behind a pointer.
fn both() -> [(&'static str, Ioctl); 2] {
    let path = CString::new(library::build().as_os_str().as_bytes()).unwrap();
    // SAFETY: both symbols are the C library's ioctl by type; the libraries stay loaded.
    unsafe {
        let shim = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        [("libc", libc), ("libsdg.so", shim)].map(|(name, library)| {
            let symbol = libc::dlsym(library, c"ioctl".as_ptr());
            assert!(!symbol.is_null(), "{name} has no ioctl");
            (name, std::mem::transmute::<*mut libc::c_void, Ioctl>(symbol))
        })
    }
}

fn pipe() -> c_int {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends[0]
}

fn passed_through(criterion: &mut Criterion) {
    let reading_end = pipe();
    let mut group = criterion.benchmark_group("FIONREAD on a pipe");
    for (name, ioctl) in both() {
        group.bench_function(name, |bencher| {
            let mut unread = 0;
            // SAFETY: FIONREAD writes an int.
            bencher.iter(|| unsafe { black_box(ioctl)(reading_end, libc::FIONREAD, &raw mut unread) });
        });
    }
    group.finish();
}

/// Prints what `libsdg.so` adds to a call, which may be a hundredth of it: only batches taken in turn, with the median of
/// their differences, show that.
fn difference(what: &str, call: impl Fn(Ioctl)) {
    const BATCH: u32 = 2000;
    let time = |ioctl: Ioctl| {
        let start = Instant::now();
        for _ in 0..BATCH {
            call(black_box(ioctl));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
    };
    let [(_, libc), (_, shim)] = both();
    let pairs: Vec<(f64, f64)> = (0..1000).map(|_| (time(libc), time(shim))).collect();
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let bare = median(pairs.iter().map(|pair| pair.0).collect());
    let cost = median(pairs.iter().map(|pair| pair.1 - pair.0).collect());
    println!(
        "{what}: {bare:.1} ns through libc, {cost:+.2} ns through libsdg.so, ratio {:.3}",
        (bare + cost) / bare
    );
}

fn differences() {
    let reading_end = pipe();
    difference("a call that is passed on (FIONREAD)", |ioctl| {
        let mut unread = 0;
        // SAFETY: FIONREAD writes an int.
        unsafe { ioctl(reading_end, libc::FIONREAD, &raw mut unread) };
    });
    if !enter_container() {
        return println!("KFD calls: left out, a mount namespace cannot be made (not root?)");
    }
    let call = Calls { on: reading_end };
    let alloc = "ALLOC and FREE of another device, charged and taken back";
    difference(alloc, |ioctl| call.alloc_and_free(ioctl));
    difference("AVAILABLE_MEMORY of another device", |ioctl| {
        call.available_memory(ioctl)
    });
    difference("CREATE_QUEUE of another device", |ioctl| call.create_queue(ioctl));
    for threads in [1, 4, 16] {
        at_once(threads, |ioctl| call.alloc_and_free(ioctl));
    }
}

/// KFD calls on a descriptor of another device: the kernel's own part is next to nothing, the shim's is the same.
#[derive(Clone, Copy)]
struct Calls {
    on: c_int,
}

impl Calls {
    fn make<T>(self, ioctl: Ioctl, nr: u32, mut argument: T) {
        let request = c_ulong::from(iowr(kfd::IOCTL_TYPE, nr, size_of::<T>()));
        // SAFETY: the structure that the request names.
        unsafe { ioctl(self.on, request, (&raw mut argument).cast()) };
    }

    fn alloc_and_free(self, ioctl: Ioctl) {
        let alloc = AllocMemory {
            size: 1 << 20,
            gpu_id: slice::GPU_ID,
            flags: kfd::alloc_flag::VRAM,
            ..AllocMemory::zeroed()
        };
        self.make(ioctl, kfd::nr::ALLOC_MEMORY_OF_GPU, alloc);
        self.make(ioctl, kfd::nr::FREE_MEMORY_OF_GPU, FreeMemory { handle: 1 });
    }

    fn available_memory(self, ioctl: Ioctl) {
        let asked = AvailableMemory {
            gpu_id: slice::GPU_ID,
            ..AvailableMemory::zeroed()
        };
        self.make(ioctl, kfd::nr::AVAILABLE_MEMORY, asked);
    }

    fn create_queue(self, ioctl: Ioctl) {
        let queue = CreateQueue {
            gpu_id: slice::GPU_ID,
            queue_type: kfd::queue_type::COMPUTE_AQL,
            ..CreateQueue::zeroed()
        };
        self.make(ioctl, kfd::nr::CREATE_QUEUE, queue);
    }
}

/// What a call takes while so many threads make it.
fn at_once(threads: usize, call: impl Fn(Ioctl) + Copy + Send + Sync) {
    const CALLS: usize = 20_000;
    let time = |ioctl: Ioctl| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(move || (0..CALLS).for_each(|_| call(black_box(ioctl))));
            }
        });
        start.elapsed().as_secs_f64() * 1e9 / (threads * CALLS) as f64
    };
    let [(_, libc), (_, shim)] = both();
    let (bare, through) = (time(libc), time(shim));
    println!(
        "ALLOC and FREE by {threads} threads at once, for each: {bare:.1} ns through libc, {:+.2} ns through libsdg.so",
        through - bare
    );
}

/// Puts a slice's pages where a container has them, in a mount namespace of this program's own.
#[inline(never)] // Its frame holds whole pages: the calls measured are to be made from an ordinary one.
fn enter_container() -> bool {
    let slice = slice::Slice::new(1 << 40);
    // SAFETY: plain system calls with strings that end in zero.
    let mounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(
                c"tmpfs".as_ptr(),
                c"/run".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                std::ptr::null(),
            ) == 0
    };
    if mounted {
        std::fs::create_dir("/run/sdg").unwrap();
        for page in ["limits", "usage"] {
            std::fs::copy(slice.directory.path().join(page), format!("/run/sdg/{page}")).unwrap();
        }
    }
    mounted
}

fn bookkeeping(criterion: &mut Criterion) {
    let slice = slice::Slice::new(1 << 40);
    let anchor = slice.anchor();
    let process = anchor.enter().unwrap();
    let mut table = Table::new();
    let charge = Charge {
        gpu: 0,
        bytes: 1 << 20,
    };
    let key = |handle| Key {
        space: 0,
        handle: u64::from(slice::GPU_ID) << 32 | handle,
    };
    for handle in 0..1000 {
        assert!(table.promise() && table.insert(key(handle), charge).is_none());
    }
    criterion.bench_function("reserve and release", |bencher| {
        bencher.iter(|| {
            assert!(process.reserve(0, black_box(1 << 20)));
            process.release(0, black_box(1 << 20));
        });
    });
    criterion.bench_function(
        "all bookkeeping of ALLOC and FREE, 1000 buffers there",
        |bencher| {
            bencher.iter(|| {
                let key = key(black_box(5000));
                assert!(process.reserve(0, charge.bytes) && table.promise());
                assert!(table.insert(key, charge).is_none());
                let taken = table.take(key).unwrap();
                table.withdraw();
                process.release(taken.gpu, taken.bytes);
            });
        },
    );
    criterion.bench_function("available", |bencher| {
        bencher.iter(|| process.available(black_box(0)))
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    passed_through(&mut criterion);
    bookkeeping(&mut criterion);
    criterion.final_summary();
    differences();
}
