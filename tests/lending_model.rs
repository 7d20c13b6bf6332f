//! Lent memory with the shim's own code at the other end: processes that allocate as `libsdg.so` lets them, while slices
//! come, go and change. What all have never exceeds the GPU, and a guarantee can always be had.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "../src/shim/core/tests/support/slice.rs"]
mod slice;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use sandbox::Sandbox;
use sdg::edits::HookStage;
use sdg::host::{Host, Places};
use sdg::inventory::{Detail, Inventory};
use sdg::ledger::pages::LimitsFile;
use sdg::ledger::record::Holder;
use sdg::lifecycle::{self, InUse, LifecycleError, NewSlice, Resize};
use sdg::request::{self, MemoryRequest};
use sdg::sys::Access;
use sdg_shim_core::process::Anchor;
use slice::{Random, Worker, pages_in};

const GI: u64 = 1 << 30;
const PROCESSES: usize = 2;

/// A node with one GPU.
struct Node {
    sandbox: Sandbox,
    host: Host,
    inventory: Inventory,
}

impl Node {
    fn new() -> Self {
        let sandbox = Sandbox::new("mi300x", &[]);
        let places = Places {
            sysroot: Some(sandbox.path("root")),
            state: Some(sandbox.path("state")),
            config: Some(sandbox.path("config.toml")),
        };
        let host = Host::new(&places).unwrap();
        let inventory = Inventory::read(&host.sysroot, Detail::Placement).unwrap();
        Self {
            sandbox,
            host,
            inventory,
        }
    }

    fn capacity(&self) -> u64 {
        self.inventory.gpus[0].memory_bytes - self.host.config.reserved_memory
    }

    fn place(&self, memory: MemoryRequest) -> Result<String, LifecycleError> {
        let texts = [memory.guarantee.to_string(), memory.limit.to_string()];
        let pairs = [
            ("sdg.memory", texts[0].as_str()),
            ("sdg.memoryLimit", texts[1].as_str()),
        ];
        let new = NewSlice {
            request: request::parse(pairs).unwrap().unwrap(),
            holder: Holder::Named,
            user: None,
            name: None,
            preload: b"",
            covered: true,
            hooks: HookStage::ALL,
        };
        Ok(lifecycle::place(&self.host, &self.inventory, &new)?.record.id)
    }

    /// A process in a slice's container.
    fn process(&self, slice: &str) -> Worker {
        Worker::fork(&Anchor::new(pages_in(&self.host.ledger().slice_dir(slice))))
    }

    /// What a slice may allocate now.
    fn allowed(&self, slice: &str) -> u64 {
        let page = LimitsFile::open(&self.host.ledger().slice_dir(slice), Access::Read).unwrap();
        page.read().unwrap()[0].memory_limit
    }
}

#[derive(Clone, Debug)]
enum Step {
    Place {
        guarantee: u64,
        beyond: u64,
    },
    Resize {
        slice: usize,
        guarantee: u64,
        beyond: u64,
    },
    Delete(usize),
    Allocate {
        slice: usize,
        process: usize,
        bytes: u64,
    },
    Free {
        slice: usize,
        process: usize,
    },
    Kill {
        slice: usize,
        process: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (slice, process) = (0..16usize, 0..PROCESSES);
    let (guarantee, beyond) = (1..60u64, prop_oneof![Just(0), 1..150u64]);
    let sizes = (guarantee, beyond);
    let step = prop_oneof![
        3 => sizes.clone().prop_map(|(guarantee, beyond)| Step::Place { guarantee, beyond }),
        2 => (slice.clone(), sizes).prop_map(|(slice, (guarantee, beyond))| Step::Resize { slice, guarantee, beyond }),
        1 => slice.clone().prop_map(Step::Delete),
        8 => (slice.clone(), process.clone(), 1..70u64)
            .prop_map(|(slice, process, bytes)| Step::Allocate { slice, process, bytes }),
        3 => (slice.clone(), process.clone()).prop_map(|(slice, process)| Step::Free { slice, process }),
        1 => (slice, process).prop_map(|(slice, process)| Step::Kill { slice, process }),
    ];
    prop::collection::vec(step, 150)
}

/// A slice as the model knows it: its processes with what each was given.
struct Tenant {
    id: String,
    memory: MemoryRequest,
    processes: Vec<(Worker, u64)>,
}

impl Tenant {
    fn used(&self) -> u64 {
        self.processes.iter().map(|(_, bytes)| bytes).sum()
    }
}

struct World {
    node: Node,
    tenants: Vec<Tenant>,
}

impl World {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Place { guarantee, beyond } => self.place(memory(guarantee, beyond)),
            Step::Resize {
                slice,
                guarantee,
                beyond,
            } => self.resize(slice, memory(guarantee, beyond)),
            Step::Delete(slice) => {
                if let Some(at) = self.at(slice) {
                    let tenant = self.tenants.remove(at);
                    drop(tenant.processes);
                    lifecycle::delete(&self.node.host, &tenant.id).unwrap();
                }
            }
            Step::Allocate {
                slice,
                process,
                bytes,
            } => self.allocate((slice, process), bytes * GI),
            Step::Free { slice, process } => {
                if let Some(at) = self.at(slice) {
                    let (worker, held) = &mut self.tenants[at].processes[process];
                    worker.release(std::mem::take(held));
                }
            }
            Step::Kill { slice, process } => {
                if let Some(at) = self.at(slice) {
                    let fresh = self.node.process(&self.tenants[at].id);
                    self.tenants[at].processes[process] = (fresh, 0);
                }
            }
        }
    }

    fn at(&self, number: usize) -> Option<usize> {
        number.checked_rem(self.tenants.len())
    }

    /// Bytes that cannot be promised: guarantees, or more where lent memory is in use.
    fn held(&self, except: Option<usize>) -> u64 {
        let others = self
            .tenants
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != except);
        others
            .map(|(_, tenant)| tenant.used().max(tenant.memory.guarantee))
            .sum()
    }

    fn place(&mut self, memory: MemoryRequest) {
        let fits = self.held(None) + memory.guarantee <= self.node.capacity();
        let placed = self.node.place(memory);
        assert_eq!(
            placed.is_ok(),
            fits && memory.limit <= self.node.capacity(),
            "{placed:?}"
        );
        if let Ok(id) = placed {
            let processes = (0..PROCESSES).map(|_| (self.node.process(&id), 0)).collect();
            self.tenants.push(Tenant {
                id,
                memory,
                processes,
            });
        }
    }

    fn resize(&mut self, slice: usize, memory: MemoryRequest) {
        let Some(at) = self.at(slice) else { return };
        let wanted = Resize {
            memory: Some(memory),
            compute: None,
            in_use: InUse::Refuse,
        };
        let used = self.tenants[at].used();
        let fits = self.held(Some(at)) + memory.guarantee.max(used) <= self.node.capacity()
            && used <= memory.limit
            && memory.limit <= self.node.capacity();
        let resized = lifecycle::resize(&self.node.host, &self.tenants[at].id, &wanted);
        assert_eq!(resized.is_ok(), fits, "{resized:?}");
        if fits {
            self.tenants[at].memory = memory;
        }
    }

    fn allocate(&mut self, (slice, process): (usize, usize), bytes: u64) {
        let Some(at) = self.at(slice) else { return };
        let allowed = self.node.allowed(&self.tenants[at].id);
        let tenant = &mut self.tenants[at];
        let fits = tenant.used() + bytes <= allowed;
        let (worker, held) = &mut tenant.processes[process];
        assert_eq!(worker.reserve(bytes), fits);
        if fits {
            *held += bytes;
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        let mut promised = 0;
        for tenant in &self.tenants {
            let allowed = self.node.allowed(&tenant.id);
            promised += allowed.max(tenant.used());
            assert!(allowed <= tenant.memory.limit, "a limit is exceeded");
            let (worker, _) = &tenant.processes[0];
            if let Some(rest) = tenant.memory.guarantee.checked_sub(tenant.used()) {
                assert!(worker.reserve(rest), "a guarantee cannot be had");
                worker.release(rest);
            }
        }
        let capacity = self.node.capacity();
        assert!(promised <= capacity, "{promised} bytes may be had of {capacity}");
    }
}

fn memory(guarantee: u64, beyond: u64) -> MemoryRequest {
    MemoryRequest {
        guarantee: guarantee * GI,
        limit: (guarantee + beyond) * GI,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_all_may_allocate_never_exceeds_the_gpu_and_a_guarantee_can_be_had(steps in steps()) {
        let mut world = World { node: Node::new(), tenants: Vec::new() };
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}

/// Bytes that all processes have at a moment, and the most that they may.
struct Meter {
    held: AtomicU64,
    capacity: u64,
}

impl Meter {
    /// Called after bytes were given: never counts more than there really is.
    fn took(&self, bytes: u64) {
        let held = self.held.fetch_add(bytes, Ordering::SeqCst) + bytes;
        assert!(
            held <= self.capacity,
            "{held} bytes are held of {}",
            self.capacity
        );
    }

    /// Called before they are given back.
    fn gives_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// GiB of the guarantees that come and go.
const NEW: u64 = 120;

#[test]
fn nor_while_processes_allocate_as_fast_as_they_can() {
    let node = Node::new();
    let meter = Meter {
        held: AtomicU64::new(0),
        capacity: node.capacity(),
    };
    let whole = node.capacity() / GI;
    let borrowers: Vec<Worker> = (0..3)
        .map(|_| node.process(&node.place(memory(10, whole - 10)).unwrap()))
        .collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (number, borrower) in borrowers.iter().enumerate() {
            let (meter, over) = (&meter, &over);
            scope.spawn(move || {
                let random = Random::new(number as u64 + 1);
                while !over.load(Ordering::Relaxed) {
                    let bytes = (1 + random.below(80)) * GI;
                    if borrower.reserve(bytes) {
                        meter.took(bytes);
                        std::thread::sleep(Duration::from_micros(random.below(5000)));
                        meter.gives_back(bytes);
                        borrower.release(bytes);
                    }
                    std::thread::sleep(Duration::from_micros(random.below(1000)));
                }
            });
        }
        let _ends = Ends(&over);
        let mut placed = 0;
        for _ in 0..200 {
            // Of this a part is mostly lent just now.
            match node.place(memory(NEW, 0)) {
                Ok(id) => {
                    placed += 1;
                    // A guarantee is taken when it is given.
                    meter.took(NEW * GI);
                    let process = node.process(&id);
                    assert!(process.reserve(NEW * GI), "a guarantee cannot be had");
                    drop(process);
                    meter.gives_back(NEW * GI);
                    lifecycle::delete(&node.host, &id).unwrap();
                }
                Err(LifecycleError::Placement(_) | LifecycleError::Unsteady) => {}
                Err(error) => panic!("{error}"),
            }
        }
        eprintln!("placed {placed}");
        assert!(placed > 0, "the borrowers left no room in 200 attempts");
    });
    drop(borrowers);
    assert!(node.sandbox.ledger_files().len() >= 3);
}

/// Ends the borrowers, however the test ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
