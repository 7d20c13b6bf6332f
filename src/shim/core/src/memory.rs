//! GPU memory through the KFD: ALLOC, FREE, AVAILABLE_MEMORY, and what else could allocate.

use core::sync::atomic::Ordering;

use sdg_abi::kfd::{AllocMemory, AvailableMemory, Criu, FreeMemory, alloc_flag, criu_op};

use crate::caller::Argument;
use crate::device;
use crate::process::{Anchor, Process};
use crate::sys::{self, errno};
use crate::table::{Charge, Key};

/// Bytes that the kernel takes from VRAM for a buffer of `size` bytes: whole pages.
pub(crate) fn whole_pages(size: u64) -> u64 {
    size.checked_next_multiple_of(4096).unwrap_or(u64::MAX)
}

/// ALLOC_MEMORY_OF_GPU: VRAM is charged before the kernel is asked, and given back if it refuses.
#[inline(never)]
pub fn allocate(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(mut argument) = Argument::read::<AllocMemory>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let AllocMemory {
        size, gpu_id, flags, ..
    } = *argument.view();
    if flags & alloc_flag::VRAM == 0 {
        return sys::ioctl(fd, request, address);
    }
    let Some(process) = anchor.enter_or_refuse() else {
        return -errno::ENOMEM;
    };
    let Some(gpu) = process.pages().limits.index_of(gpu_id) else {
        return -errno::EINVAL;
    };
    let halves = if flags & alloc_flag::AQL_QUEUE_MEM == 0 {
        1
    } else {
        2
    };
    let charge = Charge {
        gpu,
        bytes: whole_pages(size / halves),
    };
    process.keep_up();
    if !process.reserve(gpu, charge.bytes) {
        return -errno::ENOMEM;
    }
    if !process.buffers.lock().promise() {
        process.release(gpu, charge.bytes);
        return -errno::ENOMEM;
    }
    let result = argument.call(fd);
    let handle = argument.view::<AllocMemory>().handle;
    let gone = if result == 0 {
        process.buffers.lock().insert(
            Key {
                space: process.context(fd),
                handle,
            },
            charge,
        )
    } else {
        process.buffers.lock().withdraw();
        Some(charge)
    };
    if let Some(gone) = gone {
        process.release(gone.gpu, gone.bytes);
    }
    argument.give_back(result)
}

/// FREE_MEMORY_OF_GPU. The buffer leaves the table before the call: after it the kernel may give another thread the same
/// handle.
#[inline(never)]
pub fn free(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(process) = anchor.existing() else {
        return sys::ioctl(fd, request, address);
    };
    let Some(mut argument) = Argument::read::<FreeMemory>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let key = Key {
        space: process.context(fd),
        handle: argument.view::<FreeMemory>().handle,
    };
    let taken = process.buffers.lock().take(key);
    let result = argument.call(fd);
    if let Some(charge) = taken {
        if result == 0 {
            process.buffers.lock().withdraw();
            process.release(charge.gpu, charge.bytes);
        } else {
            process.buffers.lock().insert(key, charge);
        }
    }
    argument.give_back(result)
}

/// AVAILABLE_MEMORY: what the slice may still have, if the GPU has it.
#[inline(never)]
pub fn available(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(mut argument) = Argument::read::<AvailableMemory>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let result = argument.call(fd);
    if result == 0 {
        let answer = argument.view::<AvailableMemory>();
        let of_slice = anchor.enter_or_refuse().and_then(|process| {
            process.keep_up();
            Some(process.available(process.pages().limits.index_of(answer.gpu_id)?))
        });
        // A GPU that is not the slice's, or a page that is not there: nothing can be allocated.
        answer.available = answer.available.min(of_slice.unwrap_or(0));
    }
    argument.give_back(result)
}

/// CRIU_OP: restoring a checkpoint makes buffers and queues that nothing here would see.
#[inline(never)]
pub fn checkpoint(fd: i32, request: u32, address: usize) -> isize {
    let Some(mut argument) = Argument::read::<Criu>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    if argument.view::<Criu>().op == criu_op::RESTORE {
        // What the kernel answers to a process without CAP_CHECKPOINT_RESTORE.
        return -errno::EACCES;
    }
    let result = argument.call(fd);
    argument.give_back(result)
}

/// CREATE_PROCESS gives a descriptor a KFD context of its own, with handles of its own, which ends with the descriptor.
#[inline(never)]
pub fn create_context(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(process) = anchor.enter_or_refuse() else {
        return -errno::ENOMEM;
    };
    let mut contexts = process.contexts.lock();
    if !contexts.reserve(1) {
        return -errno::ENOMEM;
    }
    let result = sys::ioctl(fd, request, address);
    if result == 0 && !contexts.as_slice().contains(&fd) {
        contexts.push(fd);
        process.has_contexts.store(true, Ordering::Release);
    }
    result
}

impl Process {
    /// Which KFD context a descriptor belongs to: 0 for the process's own.
    pub(crate) fn context(&self, fd: i32) -> u64 {
        if !self.has_contexts.load(Ordering::Acquire) || !self.contexts.lock().as_slice().contains(&fd) {
            return 0;
        }
        fd as u64 + 1
    }

    /// Takes back what is charged to this process and no longer there: unmapped shared memory, buffers of closed
    /// descriptors. What another thread is just working on is left for later.
    pub(crate) fn reclaim(&self) {
        self.reclaim_svm();
        self.reclaim_gem();
        if self.has_contexts.load(Ordering::Acquire) {
            self.reclaim_contexts();
        }
    }

    #[cold]
    fn reclaim_contexts(&self) {
        let (Some(mut contexts), Some(mut buffers)) = (self.contexts.try_lock(), self.buffers.try_lock())
        else {
            return;
        };
        let limits = &self.pages().limits;
        let is_alive = |fd: i32| device::is_kfd(fd, || limits.kfd_device());
        let gone = |charge: Charge| self.release(charge.gpu, charge.bytes);
        buffers.retain_spaces(|space| space == 0 || is_alive(space.wrapping_sub(1) as i32), gone);
        while let Some(dead) = contexts.as_slice().iter().position(|fd| !is_alive(*fd)) {
            contexts.remove(dead);
        }
    }
}
