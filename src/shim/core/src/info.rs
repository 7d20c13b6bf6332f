//! AMDGPU_INFO: the questions about memory are answered for the slice.

use sdg_abi::drm::{Info, InfoMemory, InfoVramGtt, info};
use sdg_abi::{Plain, ioc_size};

use crate::caller;
use crate::process::Anchor;
use crate::sys;

/// AMDGPU_INFO on the render node with this minor number. The kernel answers first, so that its errors stay its own; then
/// its answer is made smaller where the slice is.
pub fn query(anchor: &Anchor, minor: u32, (fd, request, address): (i32, u32, usize)) -> isize {
    let result = sys::ioctl(fd, request, address);
    let mut head = [0; size_of::<Info>()];
    let Some(copied) = head.get_mut(..ioc_size(request).min(size_of::<Info>())) else {
        return result;
    };
    if result != 0 || !caller::read(address, copied) {
        return result;
    }
    let head = Info::from_prefix(&head);
    let Some(process) = anchor.enter().ok() else {
        return result;
    };
    let Some(gpu) = process.pages().limits.index_of_render_minor(minor) else {
        return result;
    };
    let limit = process.pages().limits.memory_limit(gpu);
    match head.query {
        info::VRAM_USAGE => edit(&head, |used: &mut Word| used.0 = process.used(gpu)),
        info::VIS_VRAM_USAGE => edit(&head, |used: &mut Word| used.0 = used.0.min(process.used(gpu))),
        info::VRAM_GTT => edit(&head, |sizes: &mut InfoVramGtt| {
            sizes.vram_size = limit;
            sizes.vram_cpu_accessible_size = sizes.vram_cpu_accessible_size.min(limit);
        }),
        info::MEMORY => edit(&head, |memory: &mut InfoMemory| {
            slice_memory(memory, limit, process.used(gpu))
        }),
        _ => {}
    }
    result
}

/// The answer to MEMORY, for a slice of `limit` bytes of which `used` are in use.
fn slice_memory(memory: &mut InfoMemory, limit: u64, used: u64) {
    memory.vram.total_heap_size = limit;
    memory.vram.usable_heap_size = limit;
    memory.vram.heap_usage = used;
    // As the kernel reckons it: three quarters of what is usable.
    memory.vram.max_allocation = limit / 4 * 3;
    let visible = &mut memory.cpu_accessible_vram;
    visible.total_heap_size = visible.total_heap_size.min(limit);
    visible.usable_heap_size = visible.usable_heap_size.min(limit);
    visible.heap_usage = visible.heap_usage.min(used);
    visible.max_allocation = visible.usable_heap_size / 4 * 3;
}

/// One number.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Word(u64);

// SAFETY: one integer.
unsafe impl Plain for Word {}

/// Changes the answer that the kernel has just written, as far as the program asked for it.
fn edit<T: Plain>(head: &Info, change: impl FnOnce(&mut T)) {
    let mut answer = T::zeroed();
    let size = (head.return_size as usize).min(size_of::<T>());
    // SAFETY: `answer` is plain bytes of that size.
    let bytes = unsafe { core::slice::from_raw_parts_mut((&raw mut answer).cast::<u8>(), size) };
    if !caller::read(head.return_pointer as usize, bytes) {
        return;
    }
    change(&mut answer);
    if let Some(bytes) = answer.as_bytes().get(..size) {
        // The kernel has just written there: that it cannot be written any more is the program's own race.
        let _ = caller::write(head.return_pointer as usize, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdg_abi::drm::HeapInfo;

    #[test]
    fn no_heap_is_larger_than_the_slice() {
        let whole = HeapInfo {
            total_heap_size: 100,
            usable_heap_size: 90,
            heap_usage: 50,
            max_allocation: 66,
        };
        let mut memory = InfoMemory {
            vram: whole,
            cpu_accessible_vram: whole,
            gtt: whole,
        };
        slice_memory(&mut memory, 40, 8);
        let slice = HeapInfo {
            total_heap_size: 40,
            usable_heap_size: 40,
            heap_usage: 8,
            max_allocation: 30,
        };
        assert_eq!(memory.vram, slice);
        assert_eq!(memory.cpu_accessible_vram, slice);
        assert_eq!(memory.gtt, whole);
        // A small BAR stays as small as it is.
        let bar = HeapInfo {
            total_heap_size: 4,
            usable_heap_size: 4,
            heap_usage: 1,
            max_allocation: 3,
        };
        let mut memory = InfoMemory {
            vram: whole,
            cpu_accessible_vram: bar,
            gtt: whole,
        };
        slice_memory(&mut memory, 40, 8);
        assert_eq!(memory.cpu_accessible_vram, bar);
    }
}
