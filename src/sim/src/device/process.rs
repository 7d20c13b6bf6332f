//! A process that opened the KFD or a render node: what `struct kfd_process` and `struct drm_file` hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, RwLock};

use super::events::Events;
use super::gem::GemObjects;
use super::machine::Device;
use super::memory::{Buffer, memory_file};
use super::queues::Queue;
use super::space::AddressSpace;
use super::svm::SvmRanges;
use crate::engine::Engine;
use crate::sys::{self, SharedWords};

/// Bytes of doorbells of a process on one GPU (`kfd_doorbell_process_slice()` from gfx9 on).
pub const DOORBELL_BYTES: u64 = 8192;
/// Where the doorbells of the first GPU are in the KFD's file. The kernel's own offsets, from 3 << 62 on, are more than
/// a memfd has.
pub const DOORBELL_OFFSET: u64 = 1 << 41;
/// Where the page of registers of the first GPU is in the KFD's file.
pub const REGISTERS_OFFSET: u64 = 1 << 40;
/// Size of the KFD's file.
const KFD_BYTES: u64 = 1 << 43;

/// A buffer by its handle.
#[derive(Debug)]
pub struct Handle {
    /// The buffer.
    pub buffer: Arc<Buffer>,
    /// Address on the GPU.
    pub address: u64,
    /// VRAM charged to the process for it: none for an imported buffer.
    pub charged: u64,
}

/// A process, by its id in the supervisor's pid namespace.
#[derive(Debug)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// Readable when the process is gone.
    pub pidfd: OwnedFd,
    /// The memfd that stands for this process's /dev/kfd.
    pub kfd: File,
    /// Whether the KFD was opened.
    pub uses_kfd: bool,
    /// The open files of devices that the process was given, by the descriptors that it got for them; it may have closed
    /// them since.
    pub given: HashMap<i32, (File, Device)>,
    /// Buffers of the KFD by handle.
    pub handles: HashMap<u64, Handle>,
    /// Last number given out in a handle, by GPU.
    pub last_handle: HashMap<usize, u64>,
    /// GPUs whose VM the process acquired.
    pub acquired: HashSet<usize>,
    /// Bytes of VRAM charged, by GPU.
    pub vram: Vec<u64>,
    /// Addresses as the GPUs see them.
    pub space: Arc<RwLock<AddressSpace>>,
    /// Ranges of shared virtual memory.
    pub svm: SvmRanges,
    /// Events.
    pub events: Events,
    /// Queues by id.
    pub queues: BTreeMap<u32, Queue>,
    /// Doorbells by GPU, mapped when the first queue is made.
    pub doorbells: HashMap<usize, Arc<SharedWords>>,
    /// Runs the queues; started with the first.
    pub engine: Option<Engine>,
    /// Buffers of DRM.
    pub gem: GemObjects,
    /// Faults are retried (XNACK).
    pub retries_faults: bool,
}

impl Process {
    /// Process `pid`, on a machine with `gpus` GPUs.
    pub fn new(pid: i32, gpus: usize) -> io::Result<Self> {
        Ok(Self {
            pid,
            pidfd: sys::pidfd(pid)?,
            kfd: memory_file("sdg-sim-kfd", KFD_BYTES)?,
            uses_kfd: false,
            given: HashMap::new(),
            handles: HashMap::new(),
            last_handle: HashMap::new(),
            acquired: HashSet::new(),
            vram: vec![0; gpus],
            space: Arc::new(RwLock::new(AddressSpace::new(pid))),
            svm: SvmRanges::default(),
            events: Events::default(),
            queues: BTreeMap::new(),
            doorbells: HashMap::new(),
            engine: None,
            gem: GemObjects::default(),
            retries_faults: false,
        })
    }

    /// The buffer of a handle.
    pub fn buffer(&self, handle: u64) -> Option<&Handle> {
        self.handles.get(&handle)
    }

    /// Bytes of VRAM of the process on a GPU, managed memory that moved there included.
    pub fn vram_on(&self, gpu: usize) -> u64 {
        self.vram.get(gpu).copied().unwrap_or(0) + self.svm.vram_on(gpu)
    }

    /// The doorbells on a GPU, mapped.
    pub fn doorbells_on(&mut self, gpu: usize) -> io::Result<Arc<SharedWords>> {
        if let Some(words) = self.doorbells.get(&gpu) {
            return Ok(Arc::clone(words));
        }
        let offset = DOORBELL_OFFSET + gpu as u64 * DOORBELL_BYTES;
        let words = Arc::new(SharedWords::map(&self.kfd, offset, DOORBELL_BYTES as usize)?);
        self.doorbells.insert(gpu, Arc::clone(&words));
        Ok(words)
    }
}
