//! The limits page as the host writes and reads it. Layout: the crate `sdg-abi`. The usage page: [`super::usage`].
//!
//! ```text
//! [GpuLimits] → new limits page            (before the slice appears)
//! [InForce]   → change under the sequence lock (containers have the page mapped), then those who sleep on it are woken
//! ```

use std::fs::File;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use sdg_abi::Plain;
use sdg_abi::limits::{self, GpuLimits, Header as LimitsHeader, LimitsPage, MASK_WORDS, MAX_GPUS};
use sdg_abi::sequence;
use smallvec::SmallVec;

use crate::compute::mask::CuMask;
use crate::files::{FileError, write_whole};
use crate::ledger::usage;
pub use crate::ledger::usage::{SlotUse, Usage, read as read_usage, read_slots};
use crate::sys::{Access, Mapping};

/// Why a page was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is there, but not as its layout says.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The page's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What changes in a running slice, for one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Memory never exceeded now, in bytes.
    pub memory_limit: u64,
    /// The mask; empty: none (a whole GPU).
    pub mask: CuMask,
}

/// What never changes in a slice, for one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageGpu {
    /// The KFD's gpu_id.
    pub gpu_id: u32,
    /// M of renderD<M>.
    pub render_minor: u32,
    /// XCCs.
    pub xcc_count: u32,
    /// What the container's view shows as the total, in bytes. Only a resize changes it.
    pub memory_total: u64,
}

/// Writes the pages of a new slice into its directory.
pub fn create(directory: &Path, kfd: (u32, u32), gpus: &[(PageGpu, InForce)]) -> Result<(), PageError> {
    let path = directory.join(limits::FILE_NAME);
    if gpus.is_empty() || gpus.len() > MAX_GPUS {
        return Err(layout(
            &path,
            format!("{} GPUs (a page has 1 to {MAX_GPUS})", gpus.len()),
        ));
    }
    let mut page = LimitsPage::zeroed();
    page.header = LimitsHeader {
        magic: limits::MAGIC,
        version: limits::VERSION,
        size: limits::PAGE_SIZE as u32,
        gpu_count: gpus.len() as u32,
        generation: 1,
        kfd_major: kfd.0,
        kfd_minor: kfd.1,
        ..LimitsHeader::zeroed()
    };
    for (entry, (gpu, in_force)) in page.gpus.iter_mut().zip(gpus) {
        *entry = GpuLimits {
            gpu_id: gpu.gpu_id,
            render_minor: gpu.render_minor,
            memory_limit: in_force.memory_limit,
            xcc_count: gpu.xcc_count,
            mask_bits: mask_bits(&in_force.mask),
            mask: mask_words(&in_force.mask),
            memory_total: gpu.memory_total,
            ..GpuLimits::zeroed()
        };
    }
    write_whole(&path, 0o444, page.as_bytes())?;
    usage::create(directory)
}

fn mask_bits(mask: &CuMask) -> u32 {
    (mask.words().len().min(MASK_WORDS) * 32) as u32
}

fn mask_words(mask: &CuMask) -> [u32; MASK_WORDS] {
    let mut words = [0; MASK_WORDS];
    for (to, from) in words.iter_mut().zip(mask.words()) {
        *to = *from;
    }
    words
}

/// A slice's limits page, mapped.
#[derive(Debug)]
pub struct LimitsFile {
    path: PathBuf,
    mapping: Mapping,
    gpu_count: usize,
}

impl LimitsFile {
    /// Maps the page of a slice's directory.
    pub fn open(directory: &Path, access: Access) -> Result<Self, PageError> {
        let path = directory.join(limits::FILE_NAME);
        let file = File::options()
            .read(true)
            .write(access == Access::ReadWrite)
            .open(&path)
            .map_err(FileError::of("open", &path))?;
        let mapping = Mapping::new(&file, limits::PAGE_SIZE, access).map_err(FileError::of("map", &path))?;
        let mut opened = Self {
            path,
            mapping,
            gpu_count: 0,
        };
        let (magic, version) = (
            opened.load64(offset_of!(LimitsHeader, magic))?,
            opened.load32(offset_of!(LimitsHeader, version))?,
        );
        check_head(&opened.path, (magic, limits::MAGIC), (version, limits::VERSION))?;
        let count = opened.load32(offset_of!(LimitsHeader, gpu_count))? as usize;
        if count == 0 || count > MAX_GPUS {
            return Err(layout(&opened.path, format!("gpu_count is {count}")));
        }
        opened.gpu_count = count;
        Ok(opened)
    }

    /// What is in force now, for each GPU.
    pub fn read(&self) -> Result<Vec<InForce>, PageError> {
        (0..self.gpu_count).map(|index| self.read_gpu(index)).collect()
    }

    /// XCCs of each GPU.
    pub fn xcc_counts(&self) -> Result<Vec<u32>, PageError> {
        let count = |index| Ok(self.load32(entry_offset(index) + offset_of!(GpuLimits, xcc_count))?);
        (0..self.gpu_count).map(count).collect()
    }

    fn read_gpu(&self, index: usize) -> Result<InForce, PageError> {
        let entry = entry_offset(index);
        let words = self.load32(entry + offset_of!(GpuLimits, mask_bits))? as usize / 32;
        let mask = (0..words.min(MASK_WORDS))
            .map(|word| self.load32(entry + offset_of!(GpuLimits, mask) + 4 * word))
            .collect::<Result<SmallVec<[u32; MASK_WORDS]>, _>>()?;
        Ok(InForce {
            memory_limit: self.load64(entry + offset_of!(GpuLimits, memory_limit))?,
            mask: CuMask::from_words(mask),
        })
    }

    /// Puts other limits in force; says whether anything changed. Whoever calls holds the ledger's lock, so a
    /// sequence that is odd is that of a writer that was killed, whose work is done again.
    pub fn change(&self, limits: &[InForce]) -> Result<bool, PageError> {
        if limits.len() != self.gpu_count {
            let reason = format!("{} limits for {} GPUs", limits.len(), self.gpu_count);
            return Err(layout(&self.path, reason));
        }
        let sequence = self.load32(offset_of!(LimitsHeader, sequence))?;
        let torn = !sequence.is_multiple_of(2);
        if !torn && self.read()? == limits {
            return Ok(false);
        }
        let lock = self.mapping.writable32(offset_of!(LimitsHeader, sequence));
        let lock = lock.map_err(FileError::of("store to", &self.path))?;
        sequence::change(lock, || {
            for (index, in_force) in limits.iter().enumerate() {
                self.write_gpu(index, in_force)?;
            }
            let generation = self.load64(offset_of!(LimitsHeader, generation))?;
            self.store64(offset_of!(LimitsHeader, generation), generation.wrapping_add(1))
        })?;
        self.mapping
            .wake(offset_of!(LimitsHeader, generation))
            .map_err(FileError::of("wake those who wait for", &self.path))?;
        Ok(true)
    }

    /// Goes up with each change.
    pub fn generation(&self) -> Result<u64, PageError> {
        Ok(self.load64(offset_of!(LimitsHeader, generation))?)
    }

    /// Whether a mask reaches every XCC of the slice's GPU with this index.
    pub fn covers(&self, index: usize, mask: &CuMask) -> Result<bool, PageError> {
        let xccs = self.load32(entry_offset(index) + offset_of!(GpuLimits, xcc_count))?;
        Ok(mask.covers(xccs))
    }

    /// Says another total, that of the view, for every GPU. Processes that have begun keep the one that they know.
    pub fn set_total(&self, bytes: u64) -> Result<(), PageError> {
        for index in 0..self.gpu_count {
            self.store64(entry_offset(index) + offset_of!(GpuLimits, memory_total), bytes)?;
        }
        Ok(())
    }

    fn write_gpu(&self, index: usize, in_force: &InForce) -> Result<(), FileError> {
        let entry = entry_offset(index);
        self.store64(entry + offset_of!(GpuLimits, memory_limit), in_force.memory_limit)?;
        self.store32(
            entry + offset_of!(GpuLimits, mask_bits),
            mask_bits(&in_force.mask),
        )?;
        for (word, bits) in mask_words(&in_force.mask).into_iter().enumerate() {
            self.store32(entry + offset_of!(GpuLimits, mask) + 4 * word, bits)?;
        }
        Ok(())
    }

    fn load32(&self, offset: usize) -> Result<u32, FileError> {
        self.mapping
            .word32(offset)
            .map_err(FileError::of("load from", &self.path))
    }

    fn load64(&self, offset: usize) -> Result<u64, FileError> {
        self.mapping
            .word64(offset)
            .map_err(FileError::of("load from", &self.path))
    }

    fn store32(&self, offset: usize, value: u32) -> Result<(), FileError> {
        self.mapping
            .store32(offset, value)
            .map_err(FileError::of("store to", &self.path))
    }

    fn store64(&self, offset: usize, value: u64) -> Result<(), FileError> {
        self.mapping
            .store64(offset, value)
            .map_err(FileError::of("store to", &self.path))
    }
}

fn entry_offset(index: usize) -> usize {
    offset_of!(LimitsPage, gpus) + index * size_of::<GpuLimits>()
}

/// Refuses a page that is none, or has another layout, by what it says itself.
pub(super) fn check_head(path: &Path, magic: (u64, u64), version: (u32, u32)) -> Result<(), PageError> {
    if magic.0 != magic.1 {
        return Err(layout(path, "not a page of sdg (other magic)".to_owned()));
    }
    if version.0 != version.1 {
        let reason = format!("layout version {}, this program knows {}", version.0, version.1);
        return Err(layout(path, reason));
    }
    Ok(())
}

fn layout(path: &Path, reason: String) -> PageError {
    PageError::Layout {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn in_force(memory_limit: u64, words: &[u32]) -> InForce {
        InForce {
            memory_limit,
            mask: CuMask::from_words(words.to_vec()),
        }
    }

    fn new_slice() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let gpu = |gpu_id, render_minor| PageGpu {
            gpu_id,
            render_minor,
            xcc_count: 8,
            memory_total: 4 << 30,
        };
        let gpus = [
            (gpu(7, 128), in_force(1 << 30, &[0xff; 10])),
            (gpu(8, 136), in_force(2 << 30, &[])),
        ];
        create(dir.path(), (511, 0), &gpus).unwrap();
        dir
    }

    fn page(dir: &Path) -> LimitsPage {
        LimitsPage::from_prefix(&std::fs::read(dir.join("limits")).unwrap())
    }

    #[test]
    fn a_new_page_says_what_was_given() {
        let dir = new_slice();
        let page = page(dir.path());
        assert_eq!(page.header.magic, limits::MAGIC);
        assert_eq!((page.header.kfd_major, page.header.gpu_count), (511, 2));
        assert_eq!(page.gpus[0].mask_bits, 320);
        assert_eq!(
            (
                page.gpus[1].gpu_id,
                page.gpus[1].render_minor,
                page.gpus[1].mask_bits
            ),
            (8, 136, 0)
        );
        let read = LimitsFile::open(dir.path(), Access::Read)
            .unwrap()
            .read()
            .unwrap();
        assert_eq!(read, [in_force(1 << 30, &[0xff; 10]), in_force(2 << 30, &[])]);
    }

    #[test]
    fn a_change_raises_the_generation_and_no_change_does_not() {
        let dir = new_slice();
        let file = LimitsFile::open(dir.path(), Access::ReadWrite).unwrap();
        let other = [in_force(5, &[1]), in_force(6, &[2, 3])];
        assert!(file.change(&other).unwrap());
        assert!(!file.change(&other).unwrap());
        assert_eq!(file.read().unwrap(), other);
        let page = page(dir.path());
        assert_eq!((page.header.generation, page.header.sequence), (2, 2));
        assert_eq!(
            page.gpus[0].mask[1..],
            [0; 31],
            "words of the longer mask are gone"
        );
    }

    #[test]
    fn a_writer_that_was_killed_is_followed_by_one_that_writes_all_again() {
        let dir = new_slice();
        let file = LimitsFile::open(dir.path(), Access::ReadWrite).unwrap();
        let same = file.read().unwrap();
        file.store32(offset_of!(LimitsHeader, sequence), 1).unwrap();
        assert!(file.change(&same).unwrap());
        assert_eq!(page(dir.path()).header.sequence, 2);
    }

    #[test]
    fn foreign_pages_are_refused_by_name() {
        let dir = new_slice();
        let path = dir.path().join("limits");
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&9u32.to_ne_bytes(), offset_of!(LimitsHeader, version) as u64)
            .unwrap();
        let error = LimitsFile::open(dir.path(), Access::Read).unwrap_err();
        assert!(error.to_string().contains("layout version 9"), "{error}");
        file.set_len(100).unwrap();
        assert!(LimitsFile::open(dir.path(), Access::Read).is_err());
    }
}
