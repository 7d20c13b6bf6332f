//! A GPU's memory: one sparse memfd that holds the bytes of every buffer of VRAM and GTT, and two counts.
//!
//! The KFD counts what it gave out, in steps of 2 MiB, and refuses what would exceed the GPU's size less the page
//! tables' estimate; buffers of DRM count in the GPU's use only. Source: `amdgpu_amdkfd_reserve_mem_limit()` and
//! `amdgpu_amdkfd_get_available_memory()` in Linux, amdgpu_amdkfd_gpuvm.c.
//!
//! A buffer's place in the memfd is never given out again: 2^60 bytes last longer than any run. What a freed buffer
//! held goes back to the machine at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::model::PAGE;

/// Granularity of the KFD's count (`VRAM_AVAILABLITY_ALIGN`).
const COUNT_STEP: u64 = 2 << 20;
/// Least estimate of page tables (`AMDGPU_VM_RESERVED_VRAM`).
const LEAST_PAGE_TABLES: u64 = 8 << 20;
/// Size of a GPU's memfd.
const STORE_BYTES: u64 = 1 << 60;

/// A sparse file in memory.
pub fn memory_file(name: &str, bytes: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.set_len(bytes)?;
    Ok(file)
}

/// The memory of one GPU.
#[derive(Debug)]
pub struct GpuMemory {
    /// The memfd that stands for the render node, too.
    pub store: File,
    total: u64,
    next: AtomicU64,
    counted: AtomicU64,
    used: AtomicU64,
}

impl GpuMemory {
    /// Memory of `total` bytes for the GPU that is called `name`.
    pub fn new(name: &str, total: u64) -> io::Result<Self> {
        let store = memory_file(name, STORE_BYTES)?;
        let zero = || AtomicU64::new(0);
        Ok(Self {
            store,
            total,
            next: AtomicU64::new(1 << 32),
            counted: zero(),
            used: zero(),
        })
    }

    /// Bytes of VRAM in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of VRAM.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What AVAILABLE_MEMORY reports.
    pub fn available(&self) -> u64 {
        self.limit().saturating_sub(self.counted.load(Ordering::Relaxed)) / COUNT_STEP * COUNT_STEP
    }

    fn limit(&self) -> u64 {
        self.total - (self.total >> 14).max(LEAST_PAGE_TABLES).min(self.total)
    }
}

/// Where a buffer's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Video memory.
    Vram,
    /// System memory that the driver allocated.
    Gtt,
    /// The caller's own memory, at this address.
    User(u64),
    /// A page of doorbells or registers: no memory.
    Device,
}

/// Who asks for VRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimant {
    /// The KFD: counts against its limit.
    Kfd,
    /// DRM: counts in the GPU's use.
    Drm,
}

/// A buffer object. Its memory is given back when the last holder lets go.
#[derive(Debug)]
pub struct Buffer {
    /// The GPU's memory.
    pub memory: Arc<GpuMemory>,
    /// Index of the GPU.
    pub gpu: usize,
    /// Bytes.
    pub size: u64,
    /// Where the bytes are.
    pub place: Place,
    /// Offset in the GPU's memfd, and for mmap on the render node.
    pub offset: u64,
    counted: u64,
    metadata: Mutex<Metadata>,
}

/// What user space attaches to a buffer for whoever imports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Flags.
    pub flags: u64,
    /// Tiling.
    pub tiling: u64,
    /// User space's own.
    pub data: Vec<u8>,
}

/// VRAM that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedUp {
    /// Bytes left for the claimant.
    pub available: u64,
}

impl Buffer {
    /// A buffer of `size` bytes, a multiple of a page.
    pub fn new(
        (gpu, memory): (usize, &Arc<GpuMemory>),
        (size, place): (u64, Place),
        claimant: Claimant,
    ) -> Result<Self, UsedUp> {
        let counted = match (place, claimant) {
            (Place::Vram, Claimant::Kfd) => size.div_ceil(COUNT_STEP) * COUNT_STEP,
            _ => 0,
        };
        if place == Place::Vram {
            let over_limit = memory.counted.load(Ordering::Relaxed) + size.max(counted) > memory.limit();
            let over_size = memory.used().saturating_add(size) > memory.total;
            if (claimant == Claimant::Kfd && over_limit) || over_size {
                return Err(UsedUp {
                    available: memory.available().min(memory.total - memory.used()),
                });
            }
            memory.used.fetch_add(size, Ordering::Relaxed);
            memory.counted.fetch_add(counted, Ordering::Relaxed);
        }
        let offset = memory
            .next
            .fetch_add(size.div_ceil(COUNT_STEP) * COUNT_STEP, Ordering::Relaxed);
        Ok(Self {
            memory: Arc::clone(memory),
            gpu,
            size,
            place,
            offset,
            counted,
            metadata: Mutex::default(),
        })
    }

    /// The metadata.
    pub fn metadata(&self) -> Metadata {
        self.metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the metadata.
    pub fn set_metadata(&self, metadata: Metadata) {
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = metadata;
    }

    /// Bytes of VRAM that the buffer takes.
    pub fn vram(&self) -> u64 {
        if self.place == Place::Vram { self.size } else { 0 }
    }

    /// Reads bytes of a buffer whose place is VRAM or GTT.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.store.read_exact_at(bytes, self.offset + at)
    }

    /// Writes bytes of a buffer whose place is VRAM or GTT.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.store.write_all_at(bytes, self.offset + at)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.vram(), Ordering::Relaxed);
        self.memory.counted.fetch_sub(self.counted, Ordering::Relaxed);
        if matches!(self.place, Place::Vram | Place::Gtt) {
            let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // A failure leaves the pages until the run ends.
            let _kept = fallocate(&self.memory.store, punch, self.offset as i64, self.size as i64);
        }
    }
}

/// `bytes`, rounded up to whole pages.
pub fn whole_pages(bytes: u64) -> u64 {
    bytes.saturating_add(PAGE - 1) / PAGE * PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn memory() -> Arc<GpuMemory> {
        Arc::new(GpuMemory::new("test", GIB).unwrap())
    }

    fn vram(memory: &Arc<GpuMemory>, size: u64) -> Result<Buffer, UsedUp> {
        Buffer::new((0, memory), (size, Place::Vram), Claimant::Kfd)
    }

    #[test]
    fn vram_is_refused_when_it_is_used_up_and_comes_back_when_freed() {
        let memory = memory();
        let first = vram(&memory, GIB - LEAST_PAGE_TABLES).unwrap();
        assert_eq!(memory.available(), 0);
        assert_eq!(vram(&memory, PAGE).unwrap_err(), UsedUp { available: 0 });
        drop(first);
        assert_eq!((memory.used(), memory.available()), (0, GIB - LEAST_PAGE_TABLES));
    }

    #[test]
    fn the_kfd_counts_in_steps_of_two_mebibytes() {
        let memory = memory();
        let before = memory.available();
        let _page = vram(&memory, PAGE).unwrap();
        assert_eq!((memory.used(), before - memory.available()), (PAGE, COUNT_STEP));
    }

    #[test]
    fn buffers_of_drm_count_in_the_use_and_not_in_the_kfds_figure() {
        let memory = memory();
        let before = memory.available();
        let _gem = Buffer::new((0, &memory), (GIB / 2, Place::Vram), Claimant::Drm).unwrap();
        assert_eq!((memory.used(), memory.available()), (GIB / 2, before));
    }

    #[test]
    fn a_buffer_holds_its_bytes() {
        let memory = memory();
        let buffer = vram(&memory, 2 * PAGE).unwrap();
        buffer.write(PAGE, b"bytes").unwrap();
        let mut read = [0; 5];
        buffer.read(PAGE, &mut read).unwrap();
        assert_eq!(&read, b"bytes");
    }
}
