//! Shared virtual memory: ranges of a process's own memory with attributes. Source: Linux, kfd_svm.c.
//!
//! Bytes stay where the process has them. What is modelled is the charge: a range whose preferred or prefetch location
//! is a GPU takes VRAM there, as though the GPU had touched all of it; where VRAM is used up the range stays in system
//! memory, as in the kernel. The kernel hears of munmap by itself; here ranges whose memory is gone are found when the
//! process next allocates, asks or sets attributes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use nix::errno::Errno;
use sdg_abi::kfd::{Svm, svm};
use serde_json::json;

use super::args::Args;
use super::machine::Machine;
use super::memory::{Buffer, Claimant, Place};
use super::{Refusal, refuse};
use crate::model::PAGE;
use crate::tracee::Caller;

/// `KFD_IOCTL_SVM_FLAG_GPU_ALWAYS_MAPPED`.
const ALWAYS_MAPPED: u32 = 0x40;
/// Bytes before the attributes, and of each.
const HEAD: usize = 24;
const ATTRIBUTE: usize = 8;
/// Default of `granularity` (2^9 pages).
const DEFAULT_GRANULARITY: u32 = 9;

/// Attributes of a range.
#[derive(Clone, Debug)]
struct Range {
    end: u64,
    preferred: u32,
    prefetch: u32,
    flags: u32,
    granularity: u32,
    /// gpu_id → kind of access.
    access: BTreeMap<u32, u32>,
    /// The VRAM that it takes.
    vram: Option<Arc<Buffer>>,
}

/// A process's ranges by their start; they do not overlap.
#[derive(Debug, Default)]
pub struct SvmRanges(BTreeMap<u64, Range>);

impl SvmRanges {
    /// Bytes of VRAM that ranges take on a GPU.
    pub fn vram_on(&self, gpu: usize) -> u64 {
        let charge = |range: &Range| {
            range
                .vram
                .as_ref()
                .filter(|buffer| buffer.gpu == gpu)
                .map(|b| b.size)
        };
        self.0.values().filter_map(charge).sum()
    }

    /// Whether queues may use the whole stretch as a save area: mapped always, and on this GPU.
    pub fn is_mapped(&self, start: u64, size: u64, gpu_id: u32) -> bool {
        let mut at = start;
        while at < start + size {
            let range = self
                .0
                .range(..=at)
                .next_back()
                .filter(|(_, range)| range.end > at);
            match range {
                Some((_, range))
                    if range.flags & ALWAYS_MAPPED != 0 && range.access.contains_key(&gpu_id) =>
                {
                    at = range.end;
                }
                _ => return false,
            }
        }
        true
    }

    /// Forgets charged ranges whose memory the process no longer has.
    pub fn prune(&mut self, pid: i32) {
        if self.0.values().all(|range| range.vram.is_none()) {
            return;
        }
        let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else {
            return;
        };
        let mapped: Vec<(u64, u64)> = maps.lines().filter_map(parse_mapping).collect();
        let exists = |start: u64, end: u64| mapped.iter().any(|(from, to)| *from < end && start < *to);
        self.0
            .retain(|start, range| range.vram.is_none() || exists(*start, range.end));
    }

    /// Makes `start..end` consist of whole ranges, which are returned by their starts.
    fn carve(&mut self, start: u64, end: u64) -> Vec<u64> {
        self.split_at(start);
        self.split_at(end);
        let mut at = start;
        let inside: Vec<(u64, u64)> = self
            .0
            .range(start..end)
            .map(|(from, range)| (*from, range.end))
            .collect();
        for (from, to) in inside {
            if at < from {
                self.0.insert(at, Range::new(from));
            }
            at = to;
        }
        if at < end {
            self.0.insert(at, Range::new(end));
        }
        self.0.range(start..end).map(|(from, _)| *from).collect()
    }

    fn split_at(&mut self, at: u64) {
        let Some((start, range)) = self.0.range_mut(..at).next_back() else {
            return;
        };
        if range.end <= at {
            return;
        }
        let start = *start;
        let mut tail = range.clone();
        range.end = at;
        // The halves are charged anew where they are: the one buffer cannot be divided.
        if let Some(whole) = range.vram.take() {
            range.vram = charge(&whole, at - start);
            tail.vram = charge(&whole, tail.end - at);
        }
        self.0.insert(at, tail);
    }
}

fn charge(like: &Buffer, size: u64) -> Option<Arc<Buffer>> {
    Buffer::new((like.gpu, &like.memory), (size, Place::Vram), Claimant::Kfd)
        .ok()
        .map(Arc::new)
}

fn parse_mapping(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    ))
}

impl Range {
    fn new(end: u64) -> Self {
        Self {
            end,
            preferred: svm::LOCATION_UNDEFINED,
            prefetch: svm::LOCATION_UNDEFINED,
            flags: 0,
            granularity: DEFAULT_GRANULARITY,
            access: BTreeMap::new(),
            vram: None,
        }
    }

    fn set(&mut self, kind: u32, value: u32) {
        match kind {
            svm::ATTR_PREFERRED_LOC => self.preferred = value,
            svm::ATTR_PREFETCH_LOC => self.prefetch = value,
            svm::ATTR_ACCESS | svm::ATTR_ACCESS_IN_PLACE => drop(self.access.insert(value, kind)),
            svm::ATTR_NO_ACCESS => drop(self.access.remove(&value)),
            svm::ATTR_SET_FLAGS => self.flags |= value,
            svm::ATTR_CLR_FLAGS => self.flags &= !value,
            _ => self.granularity = value,
        }
    }

    fn get(&self, kind: u32, value: u32) -> (u32, u32) {
        match kind {
            svm::ATTR_PREFERRED_LOC => (kind, self.preferred),
            svm::ATTR_PREFETCH_LOC => (kind, self.prefetch),
            svm::ATTR_ACCESS | svm::ATTR_ACCESS_IN_PLACE | svm::ATTR_NO_ACCESS => (
                self.access.get(&value).copied().unwrap_or(svm::ATTR_NO_ACCESS),
                value,
            ),
            svm::ATTR_SET_FLAGS => (kind, self.flags),
            svm::ATTR_CLR_FLAGS => (kind, !self.flags),
            _ => (kind, self.granularity),
        }
    }
}

impl Machine {
    /// SVM: set or get attributes of a range.
    pub fn svm(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let call: Svm = args.get();
        let is_whole = |value: u64| value != 0 && value.is_multiple_of(PAGE);
        if !is_whole(call.start_addr) || !is_whole(call.size) {
            return Err(refuse(
                Errno::EINVAL,
                format!("range {:#x} + {:#x}", call.start_addr, call.size),
            ));
        }
        let count = call.nattr as usize;
        if args.0.len() < HEAD + count * ATTRIBUTE {
            return Err(refuse(
                Errno::EINVAL,
                format!("{count} attributes do not fit the argument"),
            ));
        }
        self.process(caller.pid)?.svm.prune(caller.pid);
        match call.op {
            svm::OP_SET_ATTR => self.set_attributes(caller, &call, args),
            svm::OP_GET_ATTR => self.get_attributes(caller, &call, args),
            op => Err(refuse(Errno::EINVAL, format!("operation {op}"))),
        }
    }

    fn set_attributes(&mut self, caller: &Caller<'_>, call: &Svm, args: &Args) -> Result<(), Refusal> {
        let attributes = attributes(call, args);
        for (kind, value) in &attributes {
            self.check_attribute(*kind, *value)?;
        }
        let gpus: Vec<_> = self
            .gpus
            .iter()
            .enumerate()
            .map(|(index, gpu)| (gpu.model.gpu_id, index, Arc::clone(&gpu.memory)))
            .collect();
        let process = self.process(caller.pid)?;
        for start in process.svm.carve(call.start_addr, call.start_addr + call.size) {
            let Some(range) = process.svm.0.get_mut(&start) else {
                continue;
            };
            attributes
                .iter()
                .for_each(|(kind, value)| range.set(*kind, *value));
            let moves = attributes.iter().any(|(kind, _)| *kind <= svm::ATTR_PREFETCH_LOC);
            if moves {
                let target = if range.prefetch == svm::LOCATION_UNDEFINED {
                    range.preferred
                } else {
                    range.prefetch
                };
                range.vram = None;
                let gpu = gpus.iter().find(|(gpu_id, ..)| *gpu_id == target);
                range.vram = gpu.and_then(|(_, index, memory)| {
                    let claim = (range.end - start, Place::Vram);
                    Buffer::new((*index, memory), claim, Claimant::Kfd)
                        .ok()
                        .map(Arc::new)
                });
            }
        }
        for gpu in 0..gpus.len() {
            self.write_figures(caller.pid, gpu);
        }
        let held: Vec<u64> = (0..gpus.len())
            .map(|gpu| self.processes.get(&caller.pid).map_or(0, |p| p.svm.vram_on(gpu)))
            .collect();
        self.log.write("svm", || {
            json!({"pid": caller.pid, "start": call.start_addr, "size": call.size,
                   "attributes": attributes, "vram": held})
        });
        Ok(())
    }

    fn check_attribute(&self, kind: u32, value: u32) -> Result<(), Refusal> {
        let known = match kind {
            svm::ATTR_PREFERRED_LOC | svm::ATTR_PREFETCH_LOC => {
                matches!(value, svm::LOCATION_SYSMEM | svm::LOCATION_UNDEFINED)
                    || self.gpu_index(value).is_ok()
            }
            svm::ATTR_ACCESS | svm::ATTR_ACCESS_IN_PLACE | svm::ATTR_NO_ACCESS => {
                self.gpu_index(value).is_ok()
            }
            svm::ATTR_SET_FLAGS | svm::ATTR_CLR_FLAGS | svm::ATTR_GRANULARITY => true,
            _ => false,
        };
        if known {
            Ok(())
        } else {
            Err(refuse(Errno::EINVAL, format!("attribute {kind} = {value}")))
        }
    }

    fn get_attributes(&mut self, caller: &Caller<'_>, call: &Svm, args: &mut Args) -> Result<(), Refusal> {
        let process = self.process(caller.pid)?;
        let at = call.start_addr;
        let found = process
            .svm
            .0
            .range(..=at)
            .next_back()
            .filter(|(_, range)| range.end > at);
        let range = found.map_or_else(|| Range::new(at), |(_, range)| range.clone());
        for (index, (kind, value)) in attributes(call, args).into_iter().enumerate() {
            let (kind, value) = range.get(kind, value);
            args.set_u32(HEAD + index * ATTRIBUTE, kind);
            args.set_u32(HEAD + index * ATTRIBUTE + 4, value);
        }
        Ok(())
    }
}

fn attributes(call: &Svm, args: &Args) -> Vec<(u32, u32)> {
    let at = |index: usize| HEAD + index * ATTRIBUTE;
    (0..call.nattr as usize)
        .map(|index| (args.u32(at(index)), args.u32(at(index) + 4)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_split_where_attributes_differ() {
        let mut ranges = SvmRanges::default();
        for start in ranges.carve(0x10_000, 0x20_000) {
            ranges
                .0
                .get_mut(&start)
                .unwrap()
                .set(svm::ATTR_SET_FLAGS, ALWAYS_MAPPED);
            ranges.0.get_mut(&start).unwrap().set(svm::ATTR_ACCESS, 77);
        }
        assert!(ranges.is_mapped(0x10_000, 0x10_000, 77));
        assert!(!ranges.is_mapped(0x10_000, 0x10_000, 78));
        assert_eq!(ranges.carve(0x18_000, 0x30_000), [0x18_000, 0x20_000]);
        ranges
            .0
            .get_mut(&0x18_000)
            .unwrap()
            .set(svm::ATTR_CLR_FLAGS, ALWAYS_MAPPED);
        assert!(ranges.is_mapped(0x10_000, 0x8_000, 77));
        assert!(!ranges.is_mapped(0x10_000, 0x9_000, 77));
        assert!(!ranges.is_mapped(0x20_000, 0x1_000, 77));
    }

    #[test]
    fn a_mapping_is_read_from_maps() {
        let line = "7f00aa000000-7f00ab000000 rw-p 00000000 00:00 0";
        assert_eq!(parse_mapping(line), Some((0x7f00_aa00_0000, 0x7f00_ab00_0000)));
    }
}
