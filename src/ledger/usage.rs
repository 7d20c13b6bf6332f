//! The usage page as the host reads it: what the processes of a slice have allocated, and which of them have the latest
//! masks. Layout: the crate `sdg-abi`.
//!
//! What a container wrote there is taken as numbers, never as sizes or offsets.

use std::fs::File;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use sdg_abi::Plain;
use sdg_abi::limits::MAX_GPUS;
use sdg_abi::usage::{self, Header, Slot, UsagePage};
use serde::{Deserialize, Serialize};

use crate::files::{FileError, create_whole};
use crate::ledger::pages::PageError;
use crate::placement::GpuGrant;

/// What processes of a slice have allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on each GPU in the limits page's order.
    pub used: Vec<u64>,
    /// Live processes that hold or held GPU memory.
    pub processes: u32,
    /// Allocations refused.
    pub refused: u64,
    /// Highest use of one GPU seen, in bytes.
    pub peak: u64,
    /// Compute queues of the live processes that have the slice's mask.
    pub masked_queues: u64,
}

/// What a slice's processes have needed until now, those that have ended included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Highest use of one GPU seen, in bytes.
    pub peak_bytes: u64,
    /// Allocations refused.
    pub refused: u64,
}

/// What one live process says that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotUse {
    /// Its pid as it sees it itself.
    pub pid: u32,
    /// Compute queues that have a mask of the slice's.
    pub masked_queues: u32,
    /// Generation of the limits page that is in force on them.
    pub acknowledged: u64,
    /// Bytes on each GPU in the limits page's order.
    pub used: Vec<u64>,
}

/// An empty usage page: its head, and a hole that reads as free slots.
pub fn create(directory: &Path) -> Result<(), PageError> {
    let path = directory.join(usage::FILE_NAME);
    let header = Header {
        magic: usage::MAGIC,
        version: usage::VERSION,
        size: usage::PAGE_SIZE as u32,
        ..Header::zeroed()
    };
    // Every user of the container counts in it.
    let file = create_whole(&path, 0o666, header.as_bytes())?;
    file.set_len(usage::PAGE_SIZE as u64)
        .map_err(FileError::of("truncate", &path))?;
    Ok(())
}

/// What the live processes of a slice have allocated on its GPUs. Where the container has spoiled the page, as it can,
/// that is all that it may have: it must not keep others from being placed, nor get more.
pub fn read(directory: &Path, grants: &[GpuGrant]) -> Result<Usage, PageError> {
    let usage = UsageFile::open(directory)?.read(grants.len())?;
    Ok(usage.unwrap_or_else(|| Usage {
        used: grants.iter().map(|grant| grant.memory_limit_bytes).collect(),
        ..Usage::default()
    }))
}

/// What the processes of a slice have needed; none where the container has spoiled the page.
pub fn read_past(directory: &Path) -> Result<Option<Past>, PageError> {
    let header = UsageFile::open(directory)?.header()?;
    Ok(header.map(|header| Past {
        peak_bytes: header.peak,
        refused: header.refused,
    }))
}

/// How many processes are in a slice, whatever its page says and of whatever version it is: each holds a lock.
pub fn living(directory: &Path) -> Result<usize, PageError> {
    let page = match UsageFile::open(directory) {
        Err(PageError::File(error)) if error.is_absent() => return Ok(0),
        page => page?,
    };
    let locks = (0..usage::MAX_SLOTS).map(|slot| is_locked(&page.file, slot));
    let locks: Result<Vec<bool>, _> = locks.collect();
    let locks = locks.map_err(FileError::of("ask for locks of", &page.path))?;
    Ok(locks.into_iter().filter(|is_locked| *is_locked).count())
}

/// What live processes have allocated, process by process.
pub fn read_slots(directory: &Path, gpu_count: usize) -> Result<Vec<SlotUse>, PageError> {
    UsageFile::open(directory)?.slots(gpu_count)
}

/// A slice's usage page. It is read and not mapped: the container can cut the file, and a mapping of what is gone kills.
#[derive(Debug)]
pub struct UsageFile {
    path: PathBuf,
    file: File,
}

impl UsageFile {
    /// Opens the page of a slice's directory.
    pub fn open(directory: &Path) -> Result<Self, PageError> {
        let path = directory.join(usage::FILE_NAME);
        let file = File::open(&path).map_err(FileError::of("open", &path))?;
        Ok(Self { path, file })
    }

    /// What live processes have allocated on the slice's first `gpu_count` GPUs; none where the page is spoiled.
    pub fn read(&self, gpu_count: usize) -> Result<Option<Usage>, PageError> {
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        let mut result = Usage {
            used: vec![0; gpu_count.min(MAX_GPUS)],
            processes: 0,
            refused: header.refused,
            peak: header.peak,
            masked_queues: 0,
        };
        for slot in self.slots(gpu_count)? {
            result.processes += 1;
            result.masked_queues += u64::from(slot.masked_queues);
            for (sum, bytes) in result.used.iter_mut().zip(slot.used) {
                *sum = sum.saturating_add(bytes);
            }
        }
        Ok(Some(result))
    }

    /// Live processes, by their pids in the container, that have queues and not yet the masks of a generation.
    pub fn behind(&self, generation: u64) -> Result<Vec<u32>, PageError> {
        let slots = self.slots(0)?.into_iter();
        let behind = slots.filter(|slot| slot.masked_queues > 0 && slot.acknowledged < generation);
        Ok(behind.map(|slot| slot.pid).collect())
    }

    /// The slots whose process lives; nobody's where the page is spoiled.
    fn slots(&self, gpu_count: usize) -> Result<Vec<SlotUse>, PageError> {
        let high_water = self.header()?.map_or(0, |header| header.high_water as usize);
        let mut slots = Vec::new();
        for index in 0..high_water.min(usage::MAX_SLOTS) {
            if is_locked(&self.file, index).map_err(FileError::of("ask for locks of", &self.path))? {
                let slot: Option<Slot> =
                    self.load(offset_of!(UsagePage, slots) + index * size_of::<Slot>())?;
                slots.extend(slot.map(|slot| slot_use(&slot, gpu_count)));
            }
        }
        Ok(slots)
    }

    /// The page's head; none where it is not that of a page of this layout.
    fn header(&self) -> Result<Option<Header>, PageError> {
        let header: Option<Header> = self.load(0)?;
        Ok(header.filter(|header| (header.magic, header.version) == (usage::MAGIC, usage::VERSION)))
    }

    /// A part of the page; none where the file ends before it.
    fn load<T: Plain>(&self, offset: usize) -> Result<Option<T>, PageError> {
        let mut bytes = vec![0; size_of::<T>()];
        match self.file.read_exact_at(&mut bytes, offset as u64) {
            Ok(()) => Ok(Some(T::from_prefix(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(FileError::of("read", &self.path)(error).into()),
        }
    }
}

fn slot_use(slot: &Slot, gpu_count: usize) -> SlotUse {
    SlotUse {
        pid: slot.pid,
        masked_queues: slot.masked_queues,
        acknowledged: slot.acknowledged,
        used: slot.used.iter().take(gpu_count).copied().collect(),
    }
}

/// Whether a living process holds the slot.
fn is_locked(file: &File, slot: usize) -> std::io::Result<bool> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (usage::LOCK_BASE + slot as u64) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// A usage page, opened by a process that holds slots of it, each with bytes on two GPUs, queues, and a generation.
    fn page(slots: &[(usize, [u64; 2], u32, u64)]) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let path = dir.path().join(usage::FILE_NAME);
        let file = File::options().read(true).write(true).open(path).unwrap();
        let high_water = offset_of!(Header, high_water) as u64;
        file.write_all_at(&u32::MAX.to_ne_bytes(), high_water).unwrap();
        for &(index, used, masked_queues, acknowledged) in slots {
            let mut slot = Slot {
                pid: index as u32 + 1000,
                masked_queues,
                acknowledged,
                ..Slot::zeroed()
            };
            slot.used[..2].copy_from_slice(&used);
            let start = offset_of!(UsagePage, slots) + index * size_of::<Slot>();
            file.write_all_at(slot.as_bytes(), start as u64).unwrap();
        }
        (dir, file)
    }

    fn lock(file: &File, slot: u64) {
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: (usage::LOCK_BASE + slot) as libc::off_t,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    }

    #[test]
    fn only_slots_whose_process_lives_count() {
        let slots = [(0, [100, 1], 2, 1), (3, [20, 2], 1, 1), (4, [u64::MAX, 0], 9, 1)];
        let (dir, file) = page(&slots);
        lock(&file, 0);
        lock(&file, 3);
        let usage = UsageFile::open(dir.path()).unwrap().read(2).unwrap().unwrap();
        assert_eq!((usage.used, usage.processes), (vec![120, 3], 2));
        assert_eq!(usage.masked_queues, 3, "of the two that live");
        drop(file);
        let usage = UsageFile::open(dir.path()).unwrap().read(2).unwrap();
        assert_eq!(usage.unwrap().used, [0, 0]);
    }

    #[test]
    fn only_live_processes_with_queues_are_waited_for() {
        let slots = [
            (0, [0; 2], 1, 4),
            (1, [0; 2], 1, 5),
            (2, [0; 2], 0, 1),
            (3, [0; 2], 1, 1),
        ];
        let (dir, file) = page(&slots);
        for slot in 0..3 {
            lock(&file, slot);
        }
        let page = UsageFile::open(dir.path()).unwrap();
        assert_eq!(page.behind(5).unwrap(), [1000]);
        assert_eq!(page.behind(4).unwrap(), [0; 0]);
    }
}
