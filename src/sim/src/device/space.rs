//! A process's addresses as its GPUs see them: buffers where they were mapped, and the process's own memory elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::memory::{Buffer, Place};
use crate::tracee;

/// A buffer, or a part of one, at an address.
#[derive(Clone, Debug)]
pub struct Region {
    /// Bytes.
    pub length: u64,
    /// The buffer.
    pub buffer: Arc<Buffer>,
    /// Where in the buffer the region begins.
    pub skip: u64,
    /// The gpu_ids that it is mapped to.
    pub mapped: BTreeSet<u32>,
}

/// The addresses of one process.
#[derive(Debug)]
pub struct AddressSpace {
    pid: i32,
    regions: BTreeMap<u64, Region>,
}

/// Where a stretch of addresses leads, and for how many bytes.
enum Stretch {
    Buffer(Arc<Buffer>, u64, usize),
    Process(u64, usize),
}

impl AddressSpace {
    /// The addresses of process `pid`, without buffers yet.
    pub fn new(pid: i32) -> Self {
        Self {
            pid,
            regions: BTreeMap::new(),
        }
    }

    /// Places a region at `address`, in place of what began there.
    pub fn insert(&mut self, address: u64, region: Region) {
        self.regions.insert(address, region);
    }

    /// Takes the region that begins at `address` away.
    pub fn remove(&mut self, address: u64) -> Option<Region> {
        self.regions.remove(&address)
    }

    /// Takes every region away.
    pub fn clear(&mut self) {
        self.regions.clear();
    }

    /// The region that begins at `address`.
    pub fn at_mut(&mut self, address: u64) -> Option<&mut Region> {
        self.regions.get_mut(&address)
    }

    /// The region that holds `address`, and where it begins.
    pub fn find(&self, address: u64) -> Option<(u64, &Region)> {
        let (start, region) = self.regions.range(..=address).next_back()?;
        (address - start < region.length).then_some((*start, region))
    }

    /// Reads bytes from `address` on.
    pub fn read(&self, mut address: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let stretch = self.stretch(address, bytes.len());
            let (part, rest) = bytes.split_at_mut(stretch.length());
            match &stretch {
                Stretch::Buffer(buffer, at, _) => buffer.read(*at, part)?,
                Stretch::Process(at, _) => tracee::read_memory(self.pid, *at, part)?,
            }
            address += stretch.length() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Writes bytes from `address` on.
    pub fn write(&self, mut address: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let stretch = self.stretch(address, bytes.len());
            let (part, rest) = bytes.split_at(stretch.length());
            match &stretch {
                Stretch::Buffer(buffer, at, _) => buffer.write(*at, part)?,
                Stretch::Process(at, _) => tracee::write_memory(self.pid, *at, part)?,
            }
            address += stretch.length() as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn stretch(&self, address: u64, wanted: usize) -> Stretch {
        if let Some((start, region)) = self.find(address) {
            let at = address - start;
            let length = wanted.min((region.length - at) as usize);
            return match region.buffer.place {
                Place::Vram | Place::Gtt => {
                    Stretch::Buffer(Arc::clone(&region.buffer), region.skip + at, length)
                }
                Place::User(user) => Stretch::Process(user + region.skip + at, length),
                Place::Device => Stretch::Process(address, length),
            };
        }
        let next = self
            .regions
            .range(address..)
            .next()
            .map_or(u64::MAX, |(start, _)| *start);
        Stretch::Process(address, wanted.min((next - address) as usize))
    }
}

impl Stretch {
    fn length(&self) -> usize {
        match self {
            Self::Buffer(_, _, length) | Self::Process(_, length) => *length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::{Claimant, GpuMemory};

    #[test]
    fn an_address_leads_to_a_buffer_or_to_the_process() {
        let memory = Arc::new(GpuMemory::new("test", 1 << 30).unwrap());
        let buffer = Buffer::new((0, &memory), (8192, Place::Vram), Claimant::Kfd).unwrap();
        let mut space = AddressSpace::new(std::process::id() as i32);
        let region = Region {
            length: 4096,
            buffer: Arc::new(buffer),
            skip: 4096,
            mapped: BTreeSet::new(),
        };
        space.insert(0x10_0000, region.clone());
        space.write(0x10_0010, b"vram").unwrap();
        let mut read = [0; 4];
        region.buffer.read(4096 + 16, &mut read).unwrap();
        assert_eq!(&read, b"vram");
        let own = 0x1122_3344_5566_7788_u64;
        let mut copy = [0; 8];
        space.read(&raw const own as u64, &mut copy).unwrap();
        assert_eq!(u64::from_le_bytes(copy), own);
        assert!(space.find(0x10_1000).is_none());
    }
}
