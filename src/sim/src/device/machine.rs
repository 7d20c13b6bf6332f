//! All GPUs and all processes of the simulated node.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::dmabuf::Dmabufs;
use super::events::Completion;
use super::ipc::Shared;
use super::memory::GpuMemory;
use super::process::Process;
use super::{Refusal, refuse};
use crate::engine::Interrupts;
use crate::engine::load::GpuLoad;
use crate::figures::Figures;
use crate::log::Log;
use crate::model::GpuModel;
use crate::tracee::FileId;

/// One GPU.
#[derive(Debug)]
pub struct Gpu {
    /// What it is.
    pub model: GpuModel,
    /// Its memory.
    pub memory: Arc<GpuMemory>,
    /// What runs on it.
    pub load: Arc<GpuLoad>,
}

/// What a descriptor of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// /dev/kfd, opened by this process.
    Kfd(i32),
    /// The render node of the GPU with this index.
    Render(usize),
}

/// The node.
pub struct Machine {
    /// GPUs in the order of the topology.
    pub gpus: Vec<Gpu>,
    /// Processes by id.
    pub processes: HashMap<i32, Process>,
    /// Buffers that were exported.
    pub dmabufs: Dmabufs,
    /// Buffers that were named for other processes.
    pub shared: Shared,
    /// The log.
    pub log: Arc<Log>,
    /// Where the engines raise interrupts.
    pub interrupts: Arc<dyn Interrupts>,
    files: HashMap<FileId, Device>,
    figures: Figures,
}

impl Machine {
    /// A node with these GPUs, whose figures go to the files below `sysroot`.
    pub fn new(
        models: Vec<GpuModel>,
        sysroot: &Path,
        log: Arc<Log>,
        interrupts: Arc<dyn Interrupts>,
    ) -> io::Result<Self> {
        let figures = Figures::new(sysroot, &models);
        let mut gpus = Vec::new();
        let mut files = HashMap::new();
        for (index, model) in models.into_iter().enumerate() {
            let name = format!("sdg-sim-renderD{}", model.render_minor);
            let memory = Arc::new(GpuMemory::new(&name, model.vram_bytes)?);
            files.insert(FileId::of(&memory.store)?, Device::Render(index));
            let load = Arc::new(GpuLoad::new(model.memory_width_bits, model.memory_clock_mhz));
            gpus.push(Gpu { model, memory, load });
        }
        let dmabufs = Dmabufs::new()?;
        Ok(Self {
            gpus,
            processes: HashMap::new(),
            dmabufs,
            shared: Shared::default(),
            log,
            interrupts,
            files,
            figures,
        })
    }

    /// The device behind a file.
    pub fn device(&self, file: FileId) -> Option<Device> {
        self.files.get(&file).copied()
    }

    /// The GPU with this gpu_id.
    pub fn gpu_index(&self, gpu_id: u32) -> Result<usize, Refusal> {
        let index = self.gpus.iter().position(|gpu| gpu.model.gpu_id == gpu_id);
        index.ok_or_else(|| refuse(Errno::EINVAL, format!("no GPU has the id {gpu_id}")))
    }

    /// The GPU with this render node.
    pub fn gpu_of_minor(&self, minor: u32) -> Option<usize> {
        self.gpus.iter().position(|gpu| gpu.model.render_minor == minor)
    }

    /// A process that has opened a device.
    pub fn process(&mut self, pid: i32) -> Result<&mut Process, Refusal> {
        self.processes
            .get_mut(&pid)
            .ok_or_else(|| refuse(Errno::EBADF, "the process did not open the device"))
    }

    /// A process has its first descriptor of a device.
    pub fn begin(&mut self, pid: i32) -> io::Result<&Process> {
        let process = Process::new(pid, self.gpus.len())?;
        self.files.insert(FileId::of(&process.kfd)?, Device::Kfd(pid));
        Ok(self.processes.entry(pid).insert_entry(process).into_mut())
    }

    /// Notes that a process opens a device. Returns the file to give it.
    pub fn open(&mut self, pid: i32, device: Device) -> io::Result<&File> {
        match (device, self.processes.get_mut(&pid)) {
            (Device::Render(gpu), _) => match self.gpus.get(gpu) {
                Some(gpu) => Ok(&gpu.memory.store),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            (Device::Kfd(_), Some(process)) => {
                process.uses_kfd = true;
                self.figures.begin(pid);
                Ok(&process.kfd)
            }
            (Device::Kfd(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Notes that a process was given `file`, which stands for `device`, as descriptor `fd`.
    pub fn note_given(&mut self, pid: i32, fd: i32, given: (File, Device)) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.given.insert(fd, given);
        }
    }

    /// Ends the processes that are gone.
    pub fn bury(&mut self) {
        let (pids, mut watched): (Vec<i32>, Vec<PollFd>) = self
            .processes
            .values()
            .map(|process| (process.pid, PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN)))
            .unzip();
        if watched.is_empty() || poll(&mut watched, PollTimeout::ZERO).is_ok_and(|gone| gone == 0) {
            return;
        }
        let is_gone = |fd: &PollFd| fd.any().unwrap_or(false);
        let gone: Vec<i32> = pids
            .into_iter()
            .zip(&watched)
            .filter_map(|(pid, fd)| is_gone(fd).then_some(pid))
            .collect();
        gone.into_iter().for_each(|pid| self.end(pid));
    }

    /// A process is gone: all that was its is given back.
    fn end(&mut self, pid: i32) {
        let Some(mut process) = self.processes.remove(&pid) else {
            return;
        };
        if let Some(engine) = process.engine.take() {
            engine.stop();
        }
        for (id, queue) in &process.queues {
            self.log_end(pid, *id, queue);
        }
        let held: u64 = (0..self.gpus.len()).map(|gpu| process.vram_on(gpu)).sum();
        self.log.write(
            "end",
            || json!({"pid": pid, "vram_given_back": held, "queues": process.queues.len()}),
        );
        if let Ok(file) = FileId::of(&process.kfd) {
            self.files.remove(&file);
        }
        // The engine's thread may outlive the process for a moment.
        process
            .space
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        drop(process);
        self.figures.end(pid);
        self.write_use();
    }

    /// The waits whose time is up.
    pub fn expire(&mut self, now: Instant) -> Vec<Completion> {
        self.processes
            .values_mut()
            .flat_map(|process| process.events.expire(now))
            .collect()
    }

    /// When the next wait's time is up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.processes
            .values()
            .filter_map(|process| process.events.next_deadline())
            .min()
    }

    /// Writes a process's VRAM on a GPU, and the GPU's use, to their sysfs files.
    pub fn write_figures(&mut self, pid: i32, gpu: usize) {
        if let (Some(process), Some(device)) = (self.processes.get(&pid), self.gpus.get(gpu)) {
            if process.uses_kfd {
                self.figures.process(pid, gpu, process.vram_on(gpu));
            }
            let used = self.card_use(device.model.card);
            self.figures.gpu(gpu, used);
        }
    }

    /// Bytes in use of a card: of all its partitions.
    fn card_use(&self, card: u64) -> u64 {
        self.gpus
            .iter()
            .filter(|gpu| gpu.model.card == card)
            .map(|gpu| gpu.memory.used())
            .sum()
    }

    /// Writes the queues of a process to their sysfs files.
    pub fn write_queues(&mut self, pid: i32) {
        if let Some(process) = self.processes.get(&pid) {
            let describe = |(id, queue): (&u32, &super::queues::Queue)| {
                let gpu_id = self.gpus.get(queue.gpu).map_or(0, |gpu| gpu.model.gpu_id);
                (*id, gpu_id, queue.kind.number(), queue.ring_size())
            };
            let queues: Vec<_> = process.queues.iter().map(describe).collect();
            self.figures.queues(pid, &queues);
        }
    }

    /// Writes every GPU's use.
    pub fn write_use(&mut self) {
        for index in 0..self.gpus.len() {
            let used = self
                .gpus
                .get(index)
                .map_or(0, |gpu| self.card_use(gpu.model.card));
            self.figures.gpu(index, used);
        }
    }
}
