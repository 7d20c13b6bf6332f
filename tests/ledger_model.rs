//! The ledger against a model: thousands of random steps, among them kills, and after each of them no byte or unit is
//! promised twice and none is lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, fcntl};
use proptest::prelude::*;
use sandbox::Sandbox;
use sdg::compute::mask::CuMask;
use sdg::edits::HookStage;
use sdg::host::{Host, Places};
use sdg::inventory::{Detail, Inventory};
use sdg::ledger::pages::{InForce, LimitsFile};
use sdg::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use sdg::lifecycle::{self, Claim, InUse, NewSlice, Resize};
use sdg::request::{self, MemoryRequest, Millis};
use sdg::sys::Access;
use sdg_abi::{limits, usage};

const GI: u64 = 1 << 30;
const GPUS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Create {
        gpu: usize,
        memory: u64,
        beyond: u64,
        compute: bool,
        maker_dies: bool,
    },
    Claim(usize),
    Release(usize),
    Resize {
        slice: usize,
        memory: u64,
        beyond: u64,
        /// Thousandths; none: as it is.
        compute: Option<u32>,
    },
    /// A resize is killed after it wrote a page that its record knows nothing of.
    KilledResize(usize),
    /// The container's processes use that part (in hundredths) of what they may.
    Use {
        slice: usize,
        percent: u64,
    },
    /// The container's first process dies.
    Die(usize),
    /// A command is killed before it published, and one while it removed.
    Leftovers,
    /// A command is killed while it wrote a limits page.
    TornPage(usize),
    Reap,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slice = 0..64usize;
    let step = prop_oneof![
        6 => (0..GPUS, 1..60u64, prop_oneof![Just(0), 1..120u64], any::<bool>(), prop::bool::weighted(0.1)).prop_map(
            |(gpu, memory, beyond, compute, maker_dies)| Step::Create { gpu, memory, beyond, compute, maker_dies }
        ),
        2 => slice.clone().prop_map(Step::Claim),
        2 => slice.clone().prop_map(Step::Release),
        2 => (slice.clone(), 1..60u64, 0..60u64, prop::option::of(prop_oneof![Just(50), Just(100), Just(250)]))
            .prop_map(|(slice, memory, beyond, compute)| Step::Resize { slice, memory, beyond, compute }),
        1 => slice.clone().prop_map(Step::KilledResize),
        3 => (slice.clone(), 0..=100u64).prop_map(|(slice, percent)| Step::Use { slice, percent }),
        1 => slice.clone().prop_map(Step::Die),
        1 => Just(Step::Leftovers),
        1 => slice.prop_map(Step::TornPage),
        1 => Just(Step::Reap),
    ];
    prop::collection::vec(step, 500)
}

/// A slice as the model knows it, in bytes.
struct ModelSlice {
    gpu: usize,
    guarantee: u64,
    limit: u64,
    used: u64,
    named: bool,
    /// A running container has joined the named slice.
    joined: bool,
    /// Its holder died: it goes at the next transaction.
    over: bool,
    /// Keeps the usage page's slot locked, as a living process does.
    user: Option<File>,
}

struct World {
    sandbox: Sandbox,
    host: Host,
    inventory: Inventory,
    slices: BTreeMap<String, ModelSlice>,
    me: ProcessIdentity,
}

impl World {
    fn new() -> Self {
        let sandbox = Sandbox::new("mi300x", &["gpus=2"]);
        sandbox.configure("claim_grace = 0\n");
        let places = Places {
            sysroot: Some(sandbox.path("root")),
            state: Some(sandbox.path("state")),
            config: Some(sandbox.path("config.toml")),
        };
        let host = Host::new(&places).unwrap();
        let inventory = Inventory::read(&host.sysroot, Detail::Placement).unwrap();
        let me = ProcessIdentity::of(std::process::id() as i32).unwrap().unwrap();
        Self {
            sandbox,
            host,
            inventory,
            slices: BTreeMap::new(),
            me,
        }
    }

    fn capacity(&self, gpu: usize) -> u64 {
        self.inventory.gpus[gpu].memory_bytes - self.host.config.reserved_memory
    }

    /// Bytes of a GPU that cannot be promised, by the model.
    fn held(&self, gpu: usize, except: Option<&str>) -> u64 {
        let on_it = self
            .slices
            .iter()
            .filter(|(id, slice)| slice.gpu == gpu && Some(id.as_str()) != except && !slice.over);
        on_it.map(|(_, slice)| slice.guarantee.max(slice.used)).sum()
    }

    fn pick(&self, number: usize) -> Option<String> {
        let count = self.slices.len();
        (count > 0).then(|| self.slices.keys().nth(number % count).unwrap().clone())
    }

    fn dir(&self, id: &str) -> PathBuf {
        self.host.ledger().slice_dir(id)
    }

    /// What every transaction does first.
    fn forget_the_dead(&mut self) {
        self.slices.retain(|_, slice| !slice.over);
    }

    fn dead(&self) -> ProcessIdentity {
        ProcessIdentity {
            start_time: self.me.start_time - 1,
            ..self.me
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Create {
                gpu,
                memory,
                beyond,
                compute,
                maker_dies,
            } => self.create((*gpu, *memory * GI, *beyond * GI), *compute, *maker_dies),
            Step::Claim(number) => self.claim(*number),
            Step::Release(number) => self.release(*number),
            Step::Resize {
                slice,
                memory,
                beyond,
                compute,
            } => self.resize(*slice, (*memory * GI, *beyond * GI), *compute),
            Step::KilledResize(number) => self.kill_resize(*number),
            Step::Use { slice, percent } => self.use_memory(*slice, *percent),
            Step::Die(number) => self.die(*number),
            Step::Leftovers => self.leave_over(),
            Step::TornPage(number) => self.tear(*number),
            Step::Reap => {
                lifecycle::reap(&self.host).unwrap();
                self.forget_the_dead();
            }
        }
    }

    fn create(&mut self, (gpu, memory, beyond): (usize, u64, u64), compute: bool, maker_dies: bool) {
        let limit = memory + beyond;
        let texts = [memory.to_string(), limit.to_string(), gpu.to_string()];
        let mut pairs = vec![
            ("sdg.memory", texts[0].as_str()),
            ("sdg.memoryLimit", texts[1].as_str()),
            ("sdg.gpu", texts[2].as_str()),
        ];
        if compute {
            pairs.push(("sdg.compute", "50m"));
        }
        self.forget_the_dead();
        let fits = self.held(gpu, None) + memory <= self.capacity(gpu) && limit <= self.capacity(gpu);
        let maker = if maker_dies { self.dead() } else { self.me };
        let named = !maker_dies && memory.is_multiple_of(3 * GI);
        let new = NewSlice {
            request: request::parse(pairs).unwrap().unwrap(),
            holder: if named {
                Holder::Named
            } else {
                Holder::Placed {
                    maker: Some(maker),
                    container: None,
                }
            },
            user: None,
            name: None,
            preload: b"",
            covered: true,
            hooks: HookStage::ALL,
        };
        match lifecycle::place(&self.host, &self.inventory, &new) {
            Ok(placed) => {
                assert!(fits, "{memory} bytes placed on GPU {gpu} where they do not fit");
                let slice = ModelSlice {
                    gpu,
                    guarantee: memory,
                    limit,
                    used: 0,
                    named,
                    joined: false,
                    over: maker_dies,
                    user: None,
                };
                self.slices.insert(placed.record.id, slice);
            }
            // Units may be short; memory is never refused that is there.
            Err(error) => assert!(!fits || compute, "{memory} bytes fit GPU {gpu}: {error}"),
        }
    }

    fn claim(&mut self, number: usize) {
        let Some(id) = self.pick(number) else { return };
        if self.slices[&id].over {
            return;
        }
        let claim = Claim {
            container: "c",
            pid: self.me.pid,
        };
        lifecycle::claim(&self.host, &id, claim).unwrap();
        let slice = self.slices.get_mut(&id).unwrap();
        slice.joined = slice.named;
    }

    /// The containers in a named slice die: their files bear the name of a process that is gone.
    fn leave(&self, id: &str) {
        let members = self.dir(id).join("members");
        let file = |process: ProcessIdentity| members.join(format!("{}-{}", process.pid, process.start_time));
        std::fs::rename(file(self.me), file(self.dead())).unwrap();
    }

    fn release(&mut self, number: usize) {
        let Some(id) = self.pick(number) else { return };
        let slice = &self.slices[&id];
        if slice.named {
            let result = lifecycle::delete(&self.host, &id);
            let unused = slice.user.is_none() && !slice.joined;
            assert_eq!(result.is_ok(), unused, "{result:?}");
            if result.is_err() {
                return;
            }
        } else {
            assert!(lifecycle::release(&self.host, &id, None).unwrap());
        }
        self.slices.remove(&id);
    }

    fn resize(&mut self, number: usize, (memory, beyond): (u64, u64), compute: Option<u32>) {
        let Some(id) = self.pick(number) else { return };
        let over = self.slices[&id].over;
        self.forget_the_dead();
        let limit = memory + beyond;
        let wanted = Resize {
            memory: Some(MemoryRequest {
                guarantee: memory,
                limit,
            }),
            compute: compute.map(|millis| (Millis(millis), Millis(millis))),
            in_use: InUse::Refuse,
        };
        let before = self.host.ledger().record(&id).ok();
        let result = lifecycle::resize(&self.host, &id, &wanted);
        if over {
            assert!(result.is_err(), "a dead slice was resized");
            return;
        }
        let gpu = self.slices[&id].gpu;
        let held = self.held(gpu, Some(&id));
        let used = self.slices[&id].used;
        let capacity = self.capacity(gpu);
        let fits = held + memory.max(used) <= capacity && limit <= capacity && used <= limit;
        match result {
            Ok(resized) => {
                assert!(fits, "{memory} to {limit} bytes given where they do not fit");
                if let Some(millis) = compute {
                    let units = resized.record.gpus[0].compute_units;
                    // To within a step below: 50m of 288 units is 14.4, and a step is 8 or 9 units.
                    assert!(
                        units * 1000 + 9 * 1000 > millis * 288,
                        "{units} units for {millis}m"
                    );
                }
                let slice = self.slices.get_mut(&id).unwrap();
                slice.guarantee = memory;
                slice.limit = limit;
            }
            Err(error) => {
                // Units may be short; memory is never refused that is there.
                assert!(!fits || compute.is_some(), "{error}");
                assert_eq!(self.host.ledger().record(&id).ok(), before, "half of it was done");
            }
        }
    }

    /// Page, record and mark as a killed resize leaves them; then a command of another's.
    fn kill_resize(&mut self, number: usize) {
        let Some(id) = self.pick(number) else { return };
        let page = LimitsFile::open(&self.dir(&id), Access::ReadWrite).unwrap();
        let everything = InForce {
            memory_limit: u64::MAX,
            mask: CuMask::lowest(304),
        };
        page.change(&[everything]).unwrap();
        std::fs::write(self.sandbox.path("state/unsettled"), "").unwrap();
        self.create((0, GI, 0), false, false);
        assert!(!self.sandbox.path("state/unsettled").exists());
    }

    /// Writes what a process of the container would: never more than the page allows it.
    fn use_memory(&mut self, number: usize, percent: u64) {
        let Some(id) = self.pick(number) else { return };
        let dir = self.dir(&id);
        let allowed = LimitsFile::open(&dir, Access::Read).unwrap().read().unwrap()[0].memory_limit;
        let used = allowed / 100 * percent;
        let file = File::options()
            .read(true)
            .write(true)
            .open(dir.join(usage::FILE_NAME))
            .unwrap();
        let slot = std::mem::offset_of!(usage::UsagePage, slots);
        let offset = slot + std::mem::offset_of!(usage::Slot, used);
        file.write_all_at(&used.to_ne_bytes(), offset as u64).unwrap();
        let high_water = std::mem::offset_of!(usage::Header, high_water) as u64;
        file.write_all_at(&1u32.to_ne_bytes(), high_water).unwrap();
        let slice = self.slices.get_mut(&id).unwrap();
        // The same open file keeps the lock that it has; another could not get it.
        if slice.user.is_none() {
            let lock = nix::libc::flock {
                l_type: nix::libc::F_WRLCK as i16,
                l_whence: nix::libc::SEEK_SET as i16,
                l_start: usage::LOCK_BASE as i64,
                l_len: 1,
                l_pid: 0,
            };
            fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
            slice.user = Some(file);
        }
        slice.used = used;
    }

    fn die(&mut self, number: usize) {
        let Some(id) = self.pick(number) else { return };
        let dead = self.dead();
        if self.slices[&id].joined {
            self.leave(&id);
        }
        let slice = self.slices.get_mut(&id).unwrap();
        slice.joined = false;
        if slice.named || slice.over {
            return;
        }
        slice.over = true;
        slice.user = None;
        slice.used = 0;
        let mut record = self.host.ledger().record(&id).unwrap();
        record.holder = Holder::Container {
            container: "c".to_owned(),
            process: dead,
        };
        let locked = self.host.ledger();
        let locked = locked.lock(self.host.config.lock_timeout()).unwrap();
        locked.rewrite(&record).unwrap();
    }

    fn leave_over(&mut self) {
        let slices = self.sandbox.path("state/slices");
        for name in [".new-0123456789ab", ".old-ba9876543210"] {
            let dir = slices.join(name).join("view/0");
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("bank0"), "half").unwrap();
        }
    }

    /// The next placement may or may not look at this page; a reap looks at all.
    fn tear(&mut self, number: usize) {
        let Some(id) = self.pick(number) else { return };
        let file = File::options()
            .write(true)
            .open(self.dir(&id).join(limits::FILE_NAME))
            .unwrap();
        let sequence = std::mem::offset_of!(limits::Header, sequence) as u64;
        file.write_all_at(&7u32.to_ne_bytes(), sequence).unwrap();
        lifecycle::reap(&self.host).unwrap();
        self.forget_the_dead();
    }

    /// What must hold after every step.
    fn check(&self) {
        let records = self.host.ledger().records().unwrap();
        let ids: Vec<&String> = records.iter().map(|record| &record.id).collect();
        assert_eq!(ids.len(), self.slices.len(), "{ids:?}");
        for gpu in 0..GPUS {
            self.check_gpu(gpu, &records);
        }
    }

    fn check_gpu(&self, gpu: usize, records: &[SliceRecord]) {
        let mut units = CuMask::empty(304);
        let mut promised = 0;
        for record in records {
            let slice = &self.slices[&record.id];
            if slice.gpu != gpu || slice.over {
                continue;
            }
            let grant = &record.gpus[0];
            assert_eq!(
                (grant.memory_bytes, grant.memory_limit_bytes),
                (slice.guarantee, slice.limit)
            );
            let page = LimitsFile::open(&self.dir(&record.id), Access::Read).unwrap();
            let in_force = page.read().unwrap().remove(0);
            assert!(
                in_force.memory_limit >= slice.guarantee,
                "a guarantee is not kept"
            );
            assert!(in_force.memory_limit <= slice.limit, "a limit is exceeded");
            promised += in_force.memory_limit.max(slice.used);
            if grant.rect.is_some() {
                assert!(!units.overlaps(&in_force.mask), "a unit is given twice");
                units = units.union(&in_force.mask);
            }
        }
        let capacity = self.capacity(gpu);
        assert!(promised <= capacity, "{promised} bytes promised of {capacity}");
    }

    /// All gone: a whole GPU can be had again, twice.
    fn end(mut self) {
        for (id, slice) in std::mem::take(&mut self.slices) {
            drop(slice.user);
            if slice.joined {
                self.leave(&id);
            }
            if slice.named {
                lifecycle::delete(&self.host, &id).unwrap();
            } else {
                lifecycle::release(&self.host, &id, None).unwrap();
            }
        }
        lifecycle::reap(&self.host).unwrap();
        assert_eq!(self.sandbox.ledger_files(), [""; 0]);
        let new = NewSlice {
            request: request::parse([("sdg.count", "2")]).unwrap().unwrap(),
            holder: Holder::Named,
            user: None,
            name: None,
            preload: b"",
            covered: true,
            hooks: HookStage::ALL,
        };
        lifecycle::place(&self.host, &self.inventory, &new).unwrap();
    }
}

proptest! {
    // Twice 10 runs of 500 steps, side by side. A failure's steps are printed; files of them would only go stale.
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_promised_twice_and_nothing_is_lost(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn nor_in_as_many_other_histories(steps in steps()) {
        run(&steps);
    }
}

fn run(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        world.step(step);
        world.check();
    }
    world.end();
}
