//! Shared words under [loom], which runs a test once for every order in which its threads' operations can be seen.
//!
//! A word keeps its layout: it lies in a page or in zeroed memory as ever. What happens to it happens to loom's atomic of the
//! same place, and the same place is the same byte of a file, wherever each process has mapped it. The rest of what
//! processes share is the kernel, which is the real one: each call of it is made under one lock, so that loom knows that
//! calls are ordered.
//!
//! loom knows no total order of sequentially consistent operations, but of fences it does. So such operations are modelled
//! with fences, in two ways that compilers use: one before each of them, or, as on x86-64, one after each that stores. Code
//! that is right by the language's rules is right either way; a model is run both ways ([`check`]).
//!
//! [loom]: https://docs.rs/loom
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "for tests; the types are those of core"
)]
extern crate std;

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::vec::Vec;

use loom::sync::atomic::{AtomicU32 as Loom32, AtomicU64 as Loom64};
use loom::sync::{Condvar, Mutex, MutexGuard};

pub use loom::sync::atomic::fence;
pub use loom::thread::{spawn, yield_now};

/// Words that a test may use beyond those that it has read before its threads began. loom wants each to be made before they
/// do.
const SPARE: usize = 48;

/// Where the fence of a sequentially consistent operation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fences {
    BeforeEach,
    AfterStores,
}

/// loom's objects by the places that they stand for.
struct Objects<T> {
    of_place: HashMap<u64, Arc<T>>,
    spare: Vec<Arc<T>>,
}

impl<T> Objects<T> {
    fn new(make: impl Fn() -> T) -> Self {
        Self {
            of_place: HashMap::new(),
            spare: (0..SPARE).map(|_| Arc::new(make())).collect(),
        }
    }

    /// A word that is not zero is made now, so it must have been read before the threads began.
    fn at(&mut self, place: u64, made: Option<T>) -> Arc<T> {
        let spare = &mut self.spare;
        let object = self.of_place.entry(place).or_insert_with(|| match made {
            Some(made) => Arc::new(made),
            None => spare.pop().expect("more words than SPARE"),
        });
        Arc::clone(object)
    }
}

/// A file's beginning, mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    pub address: usize,
    pub length: usize,
    /// Which file; none for memory of the process's own.
    pub file: Option<u64>,
}

struct Model {
    words32: Objects<Loom32>,
    words64: Objects<Loom64>,
    cells: Objects<loom::cell::UnsafeCell<()>>,
    sleepers: Objects<Condvar>,
    mapped: Vec<Mapped>,
    kernel: Arc<Mutex<()>>,
}

std::thread_local! {
    // loom's threads are all on the test's own.
    static MODEL: RefCell<Option<Model>> = const { RefCell::new(None) };
    static FENCES: Cell<Fences> = const { Cell::new(Fences::BeforeEach) };
}

/// Runs a model for every order, with fences before and after; `ended` clears away what a run has mapped.
pub fn check(
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
    ended: impl Fn(Vec<Mapped>) + Send + Sync + 'static,
) {
    let (model, ended) = (Arc::new(model), Arc::new(ended));
    for fences in [Fences::BeforeEach, Fences::AfterStores] {
        let (model, of_last) = (Arc::clone(&model), Arc::clone(&ended));
        let of_others = Arc::clone(&ended);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.max_branches = 100_000;
        builder.check(move || {
            FENCES.set(fences);
            let before = MODEL.replace(Some(Model {
                words32: Objects::new(|| Loom32::new(0)),
                words64: Objects::new(|| Loom64::new(0)),
                cells: Objects::new(|| loom::cell::UnsafeCell::new(())),
                sleepers: Objects::new(Condvar::new),
                mapped: Vec::new(),
                kernel: Arc::new(Mutex::new(())),
            }));
            of_others(before.map(|before| before.mapped).unwrap_or_default());
            model();
        });
        let last = MODEL.replace(None);
        of_last(last.map(|last| last.mapped).unwrap_or_default());
    }
}

fn with<R>(act: impl FnOnce(&mut Model) -> R) -> R {
    MODEL.with_borrow_mut(|model| act(model.as_mut().expect("outside of a model")))
}

impl Model {
    /// The same for the same byte of a file.
    fn place(&self, address: usize) -> u64 {
        let holds = |mapped: &&Mapped| (mapped.address..mapped.address + mapped.length).contains(&address);
        match self.mapped.iter().find(holds) {
            Some(&Mapped {
                address: start,
                file: Some(file),
                ..
            }) => 1 << 63 | file << 24 | (address - start) as u64,
            _ => address as u64,
        }
    }
}

/// Something is mapped, by whichever process.
pub fn map(mapped: Mapped) {
    with(|model| model.mapped.push(mapped));
}

/// It is mapped no longer, and what comes there later is something else.
pub fn unmap(address: usize) {
    with(|model| {
        let Some(at) = model.mapped.iter().position(|mapped| mapped.address == address) else {
            return;
        };
        let gone = model.mapped.swap_remove(at);
        let lies_there =
            |place: &u64| (gone.address..gone.address + gone.length).contains(&(*place as usize));
        model.words32.of_place.retain(|place, _| !lies_there(place));
        model.words64.of_place.retain(|place, _| !lies_there(place));
        model.cells.of_place.retain(|place, _| !lies_there(place));
    });
}

/// What was mapped last.
pub fn last_mapped() -> Option<Mapped> {
    with(|model| model.mapped.last().copied())
}

/// The kernel, which does one thing at a time; held while the real one is called.
pub struct Kernel(Option<MutexGuard<'static, ()>>, *const Mutex<()>);

/// Enters the kernel.
pub fn kernel() -> Kernel {
    let lock = Arc::into_raw(with(|model| Arc::clone(&model.kernel)));
    // SAFETY: the count that `Kernel` holds keeps the lock.
    let lock_there: &'static Mutex<()> = unsafe { &*lock };
    Kernel(lock_there.lock().ok(), lock)
}

impl Drop for Kernel {
    fn drop(&mut self) {
        drop(self.0.take());
        // SAFETY: of `into_raw` in `kernel`; the guard that borrowed it is gone.
        drop(unsafe { Arc::from_raw(self.1) });
    }
}

/// What the devices answer to an ioctl in the models: by request and address of the argument.
pub type Device = fn(u32, usize) -> isize;

std::thread_local! {
    static DEVICE: Cell<Option<Device>> = const { Cell::new(None) };
}

/// From now on `device` answers ioctls.
pub fn set_device(device: Device) {
    DEVICE.set(Some(device));
}

/// The answer of the model's device, where there is one.
pub fn device(request: u32, address: usize) -> Option<isize> {
    let device = DEVICE.get()?;
    let _one_at_a_time = kernel();
    Some(device(request, address))
}

/// `FUTEX_WAIT`, without a time limit.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    let mut kernel = kernel();
    if word.load(Ordering::Relaxed) != value {
        return;
    }
    let sleepers = with(|model| {
        let place = model.place(word.0.get() as usize);
        model.sleepers.at(place, None)
    });
    let guard = kernel.0.take().expect("the kernel is entered");
    kernel.0 = sleepers.wait(guard).ok();
}

/// `FUTEX_WAKE` of one.
pub fn futex_wake(word: &AtomicU32) {
    let _kernel = kernel();
    let sleepers = with(|model| {
        let place = model.place(word.0.get() as usize);
        model.sleepers.at(place, None)
    });
    sleepers.notify_one();
}

/// A guarded value is read.
pub fn reads(address: usize) {
    cell(address).with(|_| ());
}

/// A guarded value is written.
pub fn writes(address: usize) {
    cell(address).with_mut(|_| ());
}

fn cell(address: usize) -> Arc<loom::cell::UnsafeCell<()>> {
    with(|model| {
        let place = model.place(address);
        model.cells.at(place, None)
    })
}

/// An operation that stores, with its fence where it is sequentially consistent; `weaker` is its ordering without.
fn stores<R>(order: Ordering, weaker: Ordering, act: impl FnOnce(Ordering) -> R) -> R {
    if order != Ordering::SeqCst {
        return act(order);
    }
    if FENCES.get() == Fences::BeforeEach {
        fence(Ordering::SeqCst);
        return act(weaker);
    }
    let result = act(weaker);
    fence(Ordering::SeqCst);
    result
}

fn loads<R>(order: Ordering, act: impl FnOnce(Ordering) -> R) -> R {
    if order != Ordering::SeqCst {
        return act(order);
    }
    if FENCES.get() == Fences::BeforeEach {
        fence(Ordering::SeqCst);
    }
    act(Ordering::Acquire)
}

fn changes<R>(order: Ordering, act: impl FnOnce(Ordering) -> R) -> R {
    stores(order, Ordering::AcqRel, act)
}

macro_rules! atomic_integers {
    ($($name:ident: $integer:ty, $loom:ident, $objects:ident;)*) => {$(
        #[repr(transparent)]
        #[derive(Debug)]
        pub struct $name(UnsafeCell<$integer>);

        // SAFETY: the value is read once, to make the model's, and never written.
        unsafe impl Sync for $name {}

        impl $name {
            pub const fn new(value: $integer) -> Self {
                Self(UnsafeCell::new(value))
            }

            fn model(&self) -> Arc<$loom> {
                // SAFETY: aligned and there, and never written.
                let first = unsafe { *self.0.get() };
                with(|model| {
                    let place = model.place(self.0.get() as usize);
                    model.$objects.at(place, (first != 0).then(|| $loom::new(first)))
                })
            }

            pub fn load(&self, order: Ordering) -> $integer {
                let model = self.model();
                loads(order, |order| model.load(order))
            }

            pub fn store(&self, value: $integer, order: Ordering) {
                let model = self.model();
                stores(order, Ordering::Release, |order| model.store(value, order));
            }

            pub fn swap(&self, value: $integer, order: Ordering) -> $integer {
                let model = self.model();
                changes(order, |order| model.swap(value, order))
            }

            pub fn fetch_add(&self, value: $integer, order: Ordering) -> $integer {
                let model = self.model();
                changes(order, |order| model.fetch_add(value, order))
            }

            pub fn fetch_sub(&self, value: $integer, order: Ordering) -> $integer {
                let model = self.model();
                changes(order, |order| model.fetch_sub(value, order))
            }

            pub fn fetch_max(&self, value: $integer, order: Ordering) -> $integer {
                let model = self.model();
                changes(order, |order| model.fetch_max(value, order))
            }

            pub fn compare_exchange(
                &self,
                current: $integer,
                new: $integer,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$integer, $integer> {
                let model = self.model();
                changes(success, |success| model.compare_exchange(current, new, success, weaker(failure)))
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut change: impl FnMut($integer) -> Option<$integer>,
            ) -> Result<$integer, $integer> {
                let mut seen = self.load(fetch);
                while let Some(new) = change(seen) {
                    match self.compare_exchange(seen, new, set, fetch) {
                        Ok(seen) => return Ok(seen),
                        Err(other) => seen = other,
                    }
                }
                Err(seen)
            }
        }
    )*};
}

fn weaker(failure: Ordering) -> Ordering {
    if failure == Ordering::SeqCst {
        Ordering::Acquire
    } else {
        failure
    }
}

atomic_integers! {
    AtomicU32: u32, Loom32, words32;
    AtomicU64: u64, Loom64, words64;
}

#[repr(transparent)]
#[derive(Debug)]
pub struct AtomicBool(AtomicByte);

/// A byte, which loom has as a word.
#[repr(transparent)]
#[derive(Debug)]
struct AtomicByte(UnsafeCell<u8>);

// SAFETY: never read nor written: the model's word begins at zero, as what it stands for does.
unsafe impl Sync for AtomicByte {}

impl AtomicBool {
    fn model(&self) -> Arc<Loom32> {
        with(|model| {
            let place = model.place(self.0.0.get() as usize);
            model.words32.at(place, None)
        })
    }

    pub fn load(&self, order: Ordering) -> bool {
        let model = self.model();
        loads(order, |order| model.load(order)) != 0
    }

    pub fn store(&self, value: bool, order: Ordering) {
        let model = self.model();
        stores(order, Ordering::Release, |order| model.store(value.into(), order));
    }
}

#[repr(transparent)]
pub struct AtomicPtr<T>(AtomicU64, PhantomData<Box<T>>);

impl<T> AtomicPtr<T> {
    /// A null pointer; no other is made here.
    pub const fn new(_null: *mut T) -> Self {
        Self(AtomicU64::new(0), PhantomData)
    }

    pub fn load(&self, order: Ordering) -> *mut T {
        self.0.load(order) as *mut T
    }

    pub fn compare_exchange(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        let exchanged = self
            .0
            .compare_exchange(current as u64, new as u64, success, failure);
        exchanged.map(|old| old as *mut T).map_err(|old| old as *mut T)
    }
}
