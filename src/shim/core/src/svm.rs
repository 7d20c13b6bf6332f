//! Shared virtual memory: a range that the program places on a GPU is charged to it as a whole, since the kernel moves it
//! there without asking again. (What only page faults move, with XNACK on and no location given, no ioctl announces.)

use core::ops::ControlFlow;

use sdg_abi::kfd::{Svm, SvmAttribute, svm};
use sdg_abi::{Plain, ioc_size};

use crate::caller;
use crate::process::{Anchor, Process};
use crate::ranges::Ranges;
use crate::report;
use crate::sys::{self, Access, File, errno};

/// SVM.
#[inline(never)]
pub fn call(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let pass = || sys::ioctl(fd, request, address);
    let Some((head, Some(location))) = read_location(request, address) else {
        return pass();
    };
    let Some(end) = head.start_addr.checked_add(head.size) else {
        return pass();
    };
    let process = match anchor.enter() {
        Ok(process) => process,
        Err(_) if location == svm::LOCATION_SYSMEM => return pass(),
        Err(refusal) => {
            report::refuse(refusal);
            return -errno::ENOMEM;
        }
    };
    // Held over the call: the ranges must change in the order in which the kernel changes them.
    let mut ranges = process.svm.lock();
    if !ranges.promise() {
        return -errno::ENOMEM;
    }
    let mut placed = None;
    if location != svm::LOCATION_SYSMEM {
        let Some(gpu) = process.pages().limits.index_of(location) else {
            return -errno::EINVAL;
        };
        let Some(added) = process.reserve_range(&mut ranges, (head.start_addr, end), gpu) else {
            return -errno::ENOMEM;
        };
        placed = Some((gpu, added));
    }
    let result = pass();
    if result != 0 {
        if let Some((gpu, added)) = placed {
            process.release(gpu, added);
        }
        return result;
    }
    ranges.clear(head.start_addr, end, |gpu, bytes| {
        // What was on the same GPU before stays charged.
        if placed.is_none_or(|(to, _)| to != gpu) {
            process.release(gpu, bytes);
        }
    });
    if let Some((gpu, _)) = placed {
        ranges.assign(head.start_addr, end, gpu);
    }
    result
}

/// The call's head, and where it places the range, if it does. The attributes are read again by the kernel: a program
/// that changes them in between escapes this layer alone.
fn read_location(request: u32, address: usize) -> Option<(Svm, Option<u32>)> {
    let mut head = [0; size_of::<Svm>()];
    let size = ioc_size(request);
    if !caller::read(address, head.get_mut(..size.min(size_of::<Svm>()))?) {
        return None;
    }
    let head = Svm::from_prefix(&head);
    if head.op != svm::OP_SET_ATTR {
        return Some((head, None));
    }
    let mut preferred = None;
    let mut prefetched = None;
    let given = size.saturating_sub(size_of::<Svm>()) / size_of::<SvmAttribute>();
    for index in 0..given.min(head.nattr as usize) {
        let mut attribute = [0; size_of::<SvmAttribute>()];
        if !caller::read(
            address + size_of::<Svm>() + index * size_of::<SvmAttribute>(),
            &mut attribute,
        ) {
            return None;
        }
        let attribute = SvmAttribute::from_prefix(&attribute);
        match attribute.kind {
            svm::ATTR_PREFERRED_LOC => preferred = Some(attribute.value),
            svm::ATTR_PREFETCH_LOC => prefetched = Some(attribute.value),
            _ => {}
        }
    }
    Some((head, location(preferred, prefetched)))
}

/// Where a range goes: a GPU, if either names one (the prefetch moves it at once, the preference when it is touched).
fn location(preferred: Option<u32>, prefetched: Option<u32>) -> Option<u32> {
    let given = |location: &u32| *location != svm::LOCATION_UNDEFINED;
    let (preferred, prefetched) = (preferred.filter(given), prefetched.filter(given));
    let is_gpu = |location: &u32| *location != svm::LOCATION_SYSMEM;
    prefetched
        .filter(is_gpu)
        .or(preferred.filter(is_gpu))
        .or(prefetched)
        .or(preferred)
}

impl Process {
    /// Charges what of a range is not yet charged to the GPU, and says how many bytes that was.
    fn reserve_range(&self, ranges: &mut Ranges, (start, end): (u64, u64), gpu: usize) -> Option<u64> {
        let missing = |ranges: &Ranges| (end - start).saturating_sub(ranges.charged(start, end, gpu));
        let added = missing(ranges);
        if self.reserve(gpu, added) {
            return Some(added);
        }
        // The ranges are locked here, so the reservation could not look through them itself.
        self.drop_unmapped(ranges);
        let added = missing(ranges);
        self.reserve(gpu, added).then_some(added)
    }

    /// Takes back the charges of ranges that the program has unmapped.
    pub(crate) fn reclaim_svm(&self) {
        if let Some(mut ranges) = self.svm.try_lock() {
            self.drop_unmapped(&mut ranges);
        }
    }

    fn drop_unmapped(&self, ranges: &mut Ranges) {
        let is_mapped = |start: u64, end: u64| sys::is_mapped(start as usize, (end - start) as usize);
        if ranges
            .as_slice()
            .iter()
            .all(|range| is_mapped(range.start, range.end))
            || !ranges.promise()
        {
            return;
        }
        let mut seen_to = 0;
        let drop = |ranges: &mut Ranges, start, end| {
            ranges.clear(start, end, |gpu, bytes| self.release(gpu, bytes));
        };
        let whole = each_mapping(|start, end| {
            if ranges.promise() {
                drop(ranges, seen_to, start);
                seen_to = end;
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        });
        if whole {
            drop(ranges, seen_to, u64::MAX);
        }
    }
}

/// Calls `visit` for every mapping of the process in the order of addresses; whether all were seen.
fn each_mapping(mut visit: impl FnMut(u64, u64) -> ControlFlow<()>) -> bool {
    let Ok(file) = File::open(c"/proc/self/maps", Access::Read) else {
        return false;
    };
    let mut buffer = [0; 4096];
    // A line begins with "start-end " in hexadecimal.
    let (mut start, mut number, mut in_addresses) = (0, 0u64, true);
    loop {
        let filled = match file.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => buffer.get(..count).unwrap_or(&[]),
            Err(errno::EINTR) => continue,
            Err(_) => return false,
        };
        for byte in filled {
            match byte {
                b'\n' => (number, in_addresses) = (0, true),
                _ if !in_addresses => {}
                b'-' => (start, number) = (number, 0),
                b' ' => {
                    in_addresses = false;
                    if visit(start, number).is_break() {
                        return false;
                    }
                }
                digit => number = number << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_named_by_either_attribute_is_charged() {
        let (gpu, other, sysmem, none) = (7, 9, svm::LOCATION_SYSMEM, svm::LOCATION_UNDEFINED);
        assert_eq!(location(None, None), None);
        assert_eq!(location(Some(none), None), None);
        assert_eq!(location(Some(gpu), None), Some(gpu));
        assert_eq!(location(Some(gpu), Some(other)), Some(other));
        assert_eq!(location(Some(gpu), Some(sysmem)), Some(gpu));
        assert_eq!(location(Some(none), Some(sysmem)), Some(sysmem));
        assert_eq!(location(Some(sysmem), None), Some(sysmem));
    }

    #[test]
    fn mappings_are_seen_in_order_and_whole() {
        let expected: Vec<(u64, u64)> = std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .map(|line| {
                let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                (
                    u64::from_str_radix(start, 16).unwrap(),
                    u64::from_str_radix(end, 16).unwrap(),
                )
            })
            .collect();
        let mut seen = Vec::with_capacity(expected.len() * 2 + 100);
        assert!(each_mapping(|start, end| {
            seen.push((start, end));
            ControlFlow::Continue(())
        }));
        // Other test threads map and unmap meanwhile: the program's own text stays where it is.
        assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        assert_eq!(seen.first(), expected.first());
        assert_eq!(seen.last(), expected.last());
    }
}
