//! Programs under `libsdg.so` on a simulated node, with the two pages of a slice where a container has them.
#![allow(dead_code, reason = "each test program uses a part")]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use sdg_abi::limits::{self, GpuLimits, LimitsPage};
use sdg_abi::{Plain, usage};
use sdg_sim::preset::Preset;
use serde_json::Value;

use crate::library;

/// `flags` of ALLOC for a buffer in VRAM, and in system memory.
pub const VRAM: u32 = 1 | 1 << 31;
pub const GTT: u32 = 2 | 1 << 31;
pub const GIB: u64 = 1 << 30;
/// VRAM of an MI300X.
pub const MI300X: u64 = 206_141_652_992;
/// Error numbers.
pub const ENXIO: i32 = 6;
pub const EACCES: i32 = 13;
pub const ENOMEM: i32 = 12;
pub const EFAULT: i32 = 14;
pub const EINVAL: i32 = 22;

/// How a container is to be.
pub struct Setup {
    pub preset: &'static str,
    /// GPUs of the node, by their order, that are the slice's.
    pub gpus: Vec<usize>,
    pub memory_limit: u64,
    /// What the view shows as the total.
    pub memory_total: u64,
    /// The slice's mask on each GPU; empty for whole GPUs.
    pub mask: Vec<u32>,
    /// Layout versions of limits and usage page; none where they are not there at all.
    pub layouts: Option<(u32, u32)>,
    /// Whether there is room for more on the pages' file system.
    pub room: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            preset: "mi300x",
            gpus: vec![0],
            memory_limit: 4 * GIB,
            memory_total: 1000 * GIB,
            mask: vec![u32::MAX; 2],
            layouts: Some((limits::VERSION, usage::VERSION)),
            room: true,
        }
    }
}

/// A GPU of the node, as its topology has it.
#[derive(Clone, Copy, Debug)]
pub struct Gpu {
    pub id: u32,
    pub render_minor: u32,
    pub xcc_count: u32,
}

/// A simulated node, on which programs run that have a slice of it.
pub struct Container {
    directory: tempfile::TempDir,
    pub gpus: Vec<Gpu>,
    page: RefCell<LimitsPage>,
    hub: Child,
    conversation: RefCell<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

/// A program in a container.
pub struct Program<'a> {
    container: &'a Container,
    name: String,
}

const ENTER: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir /run/sdg
pages=$1
if [ "$5" = false ]; then
    pages=/run/host
    mkdir $pages
    mount -t tmpfs -o size=1m tmpfs $pages
    cp --sparse=always "$1/limits" "$1/usage" $pages
    cat /dev/zero >$pages/rest 2>/dev/null || true
fi
for page in limits usage; do
    if [ -e "$pages/$page" ]; then touch /run/sdg/$page; mount --bind "$pages/$page" /run/sdg/$page; fi
done
if [ -e /run/sdg/limits ]; then mount -o remount,bind,ro /run/sdg/limits; fi
exec "$2" run --node "$1/node" --log "$1/log" -- env LD_PRELOAD="$3" "$4"
"#;

impl Container {
    /// Starts a node and a container with a slice of it.
    pub fn start(setup: &Setup) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let simulator = library::simulator();
        let node = directory.path().join("node");
        sdg_sim::node::build(&Preset::named(setup.preset).unwrap(), &node).unwrap();
        let gpus = read_gpus(&node);
        let mut page = limits_page(setup, &node, &gpus);
        if let Some((limits_version, usage_version)) = setup.layouts {
            page.header.version = limits_version;
            fs::write(directory.path().join("limits"), page.as_bytes()).unwrap();
            let mut page = usage::UsagePage::zeroed();
            page.header.magic = usage::MAGIC;
            page.header.version = usage_version;
            page.header.size = usage::PAGE_SIZE as u32;
            fs::write(directory.path().join("usage"), page.as_bytes()).unwrap();
        }
        let errors = File::create(directory.path().join("stderr")).unwrap();
        let mut hub = Command::new("unshare")
            .args(["--mount", "sh", "-c", ENTER, "sh"])
            .args([
                directory.path(),
                &simulator,
                &library::build(),
                &library::program(),
            ])
            .arg(setup.room.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut commands = hub.stdin.take().unwrap();
        writeln!(commands, "hub").unwrap();
        let answers = BufReader::new(hub.stdout.take().unwrap()).lines();
        Self {
            directory,
            gpus,
            page: RefCell::new(page),
            hub,
            conversation: RefCell::new((commands, answers)),
        }
    }

    fn say(&self, line: &str) -> String {
        let (commands, answers) = &mut *self.conversation.borrow_mut();
        writeln!(commands, "{line}").unwrap();
        answers
            .next()
            .unwrap_or_else(|| panic!("no answer to {line}: {}", self.errors()))
            .unwrap()
    }

    /// Starts a program.
    pub fn program(&self, name: &str) -> Program<'_> {
        assert_eq!(self.say(&format!("{name} start")), "ok");
        Program {
            container: self,
            name: name.to_owned(),
        }
    }

    /// What programs and simulator wrote to standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }

    /// What the devices saw, by the name of the event.
    pub fn seen(&self, event: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        let events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|line| line["event"] == event).collect()
    }

    /// The masks that a queue was given, one after the other.
    pub fn masks_of(&self, queue: u64) -> Vec<Vec<u32>> {
        let masks = self
            .seen("mask")
            .into_iter()
            .filter(|event| event["queue"] == queue);
        masks
            .map(|event| serde_json::from_value(event["mask"].clone()).unwrap())
            .collect()
    }

    /// Bytes of VRAM that the driver says its process holds on a GPU.
    pub fn held_by_device(&self, gpu: usize) -> u64 {
        let processes = fs::read_dir(self.directory.path().join("node/sys/class/kfd/kfd/proc")).unwrap();
        let name = format!("vram_{}", self.gpus[gpu].id);
        let figures =
            processes.map(|process| fs::read_to_string(process.unwrap().path().join(&name)).unwrap());
        figures.map(|figure| figure.trim().parse::<u64>().unwrap()).sum()
    }

    /// The usage page.
    pub fn usage(&self) -> usage::UsagePage {
        usage::UsagePage::from_prefix(&fs::read(self.directory.path().join("usage")).unwrap())
    }

    /// Bytes noted in the usage page for the slice's GPU with this index.
    pub fn noted(&self, gpu: usize) -> u64 {
        self.usage().slots.iter().map(|slot| slot.used[gpu]).sum()
    }

    /// Changes the limits page as a host does.
    pub fn change(&self, change: impl FnOnce(&mut [GpuLimits])) {
        let mut page = self.page.borrow_mut();
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.directory.path().join("limits"))
            .unwrap();
        page.header.sequence += 1;
        file.write_all_at(page.header.as_bytes(), 0).unwrap();
        change(&mut page.gpus);
        page.header.generation += 1;
        file.write_all_at(page.as_bytes(), 0).unwrap();
        page.header.sequence += 1;
        file.write_all_at(page.header.as_bytes(), 0).unwrap();
        wake(&file);
    }

    /// Waits until something is so: what a thread of the program does by itself has no other sign of its end.
    pub fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..2000 {
            if is_so() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("waited in vain until {what}: {}", self.errors());
    }
}

/// Wakes those who wait for a change of the limits page.
fn wake(file: &File) {
    let generation = std::mem::offset_of!(limits::Header, generation);
    // SAFETY: a new mapping of the page, in which the kernel only looks up which file and place it is of.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            limits::PAGE_SIZE,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(page, libc::MAP_FAILED);
        libc::syscall(
            libc::SYS_futex,
            page.byte_add(generation),
            libc::FUTEX_WAKE,
            i32::MAX,
        );
        libc::munmap(page, limits::PAGE_SIZE);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The simulator ends with its command, which ends with its input; if not, it is made to.
        let _ = self.hub.kill();
        let _ = self.hub.wait();
    }
}

impl Program<'_> {
    /// Makes a call.
    pub fn call(&self, call: &str) -> Result<Vec<u64>, i32> {
        let answer = self.container.say(&format!("{} {call}", self.name));
        if let Some(errno) = answer.strip_prefix("errno ") {
            return Err(errno.parse().unwrap());
        }
        let values = answer
            .strip_prefix("ok")
            .unwrap_or_else(|| panic!("{call}: {answer}"))
            .split_whitespace();
        Ok(values
            .map(|value| u64::from_str_radix(&value[2..], 16).unwrap())
            .collect())
    }

    /// Makes a call with one result.
    pub fn get(&self, call: &str) -> u64 {
        *self
            .call(call)
            .unwrap_or_else(|errno| panic!("{call}: errno {errno}"))
            .first()
            .unwrap()
    }

    /// Makes a call without a result.
    pub fn go(&self, call: &str) {
        self.call(call)
            .unwrap_or_else(|errno| panic!("{call}: errno {errno}"));
    }

    /// Opens the KFD and the GPU's render node, ties them together, and returns the KFD's descriptor.
    pub fn open_gpu(&self, gpu: usize) -> u64 {
        let kfd = self.get("open /dev/kfd");
        self.acquire(kfd, gpu);
        kfd
    }

    /// Ties another GPU to an open KFD, and returns its render node's descriptor.
    pub fn acquire(&self, kfd: u64, gpu: usize) -> u64 {
        let Gpu { id, render_minor, .. } = self.container.gpus[gpu];
        let render = self.get(&format!("open /dev/dri/renderD{render_minor}"));
        self.go(&format!("acquire {kfd} {id} {render}"));
        render
    }

    /// Allocates VRAM on the node's first GPU.
    pub fn alloc(&self, kfd: u64, bytes: u64) -> Result<u64, i32> {
        let id = self.container.gpus[0].id;
        self.call(&format!("alloc {kfd} {id} {bytes} {VRAM}"))
            .map(|values| values[0])
    }

    /// What AVAILABLE_MEMORY answers for the node's first GPU.
    pub fn available(&self, kfd: u64) -> u64 {
        self.get(&format!("available {kfd} {}", self.container.gpus[0].id))
    }

    /// Lets the program end by itself, and says with what status it did.
    pub fn end(self) -> String {
        self.container.say(&format!("{} end", self.name))
    }

    /// Ends the program by SIGKILL.
    pub fn kill(self) {
        assert_eq!(self.container.say(&format!("{} kill", self.name)), "ok");
    }
}

fn read_gpus(node: &Path) -> Vec<Gpu> {
    let nodes = node.join("sys/class/kfd/kfd/topology/nodes");
    let mut numbers: Vec<u32> = fs::read_dir(&nodes)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let gpus = numbers.iter().filter_map(|number| {
        let directory = nodes.join(number.to_string());
        let properties = fs::read_to_string(directory.join("properties")).unwrap();
        let property = |key: &str| {
            let mut lines = properties.lines();
            let value = lines
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .unwrap();
            value.trim().parse::<u32>().unwrap()
        };
        let id = fs::read_to_string(directory.join("gpu_id"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let gpu = || Gpu {
            id,
            render_minor: property("drm_render_minor"),
            xcc_count: property("num_xcc"),
        };
        (property("simd_count") > 0).then(gpu)
    });
    gpus.collect()
}

fn limits_page(setup: &Setup, node: &Path, gpus: &[Gpu]) -> LimitsPage {
    let device = fs::read_to_string(node.join("sys/class/kfd/kfd/dev")).unwrap();
    let (major, minor) = device.trim().split_once(':').unwrap();
    let mut page = LimitsPage::zeroed();
    page.header.magic = limits::MAGIC;
    page.header.version = limits::VERSION;
    page.header.size = limits::PAGE_SIZE as u32;
    page.header.gpu_count = setup.gpus.len() as u32;
    page.header.generation = 1;
    page.header.kfd_major = major.parse().unwrap();
    page.header.kfd_minor = minor.parse().unwrap();
    for (entry, gpu) in page.gpus.iter_mut().zip(&setup.gpus) {
        entry.gpu_id = gpus[*gpu].id;
        entry.render_minor = gpus[*gpu].render_minor;
        entry.xcc_count = gpus[*gpu].xcc_count;
        entry.memory_limit = setup.memory_limit;
        entry.memory_total = setup.memory_total;
        if !setup.mask.is_empty() {
            // The sizes that an MI300X's mask has: 304 units in 320 bits.
            entry.mask_bits = 320;
            entry.mask[..setup.mask.len()].copy_from_slice(&setup.mask);
        }
    }
    page
}

/// A mask of an MI300X with these lowest words.
pub fn mask(words: &[u32]) -> Vec<u32> {
    let mut mask = words.to_vec();
    mask.resize(10, 0);
    mask
}
