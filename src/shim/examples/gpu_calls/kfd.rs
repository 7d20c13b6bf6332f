//! Calls of the KFD.

use std::sync::atomic::{AtomicU64, Ordering};

use sdg_abi::kfd::{
    AcquireVm, AllocMemory, AvailableMemory, CreateQueue, Criu, DestroyQueue, FreeMemory, IOCTL_TYPE,
    MapMemory, SetCuMask, Svm, SvmAttribute, alloc_flag, nr, queue_type, svm,
};
use sdg_abi::{Plain, iowr};

use crate::calls::{Outcome, Wording, ioctl_at, number};

const fn kfd(number: u32) -> (u8, u32) {
    (IOCTL_TYPE, number)
}

/// Makes a call of the KFD; `None` where the name is of none.
pub fn perform(name: &str, arguments: &[&str]) -> Option<Outcome> {
    let n = |index: usize| number(arguments[index]);
    let wording = Wording::of(arguments);
    Some(match name {
        "acquire" => {
            let mut call = AcquireVm {
                drm_fd: n(2) as u32,
                gpu_id: n(1) as u32,
            };
            wording
                .call(n(0), kfd(nr::ACQUIRE_VM), &mut call)
                .map(|()| vec![])
        }
        "alloc" => allocate(n(0), (n(1) as u32, n(2), n(3) as u32), wording),
        "free" => {
            let mut call = FreeMemory { handle: n(1) };
            wording
                .call(n(0), kfd(nr::FREE_MEMORY_OF_GPU), &mut call)
                .map(|()| vec![])
        }
        "gpu-map" => map(n(0), n(1), nr::MAP_MEMORY_TO_GPU),
        "gpu-unmap" => map(n(0), n(1), nr::UNMAP_MEMORY_FROM_GPU),
        "available" => {
            let mut call = AvailableMemory {
                available: 0,
                gpu_id: n(1) as u32,
                pad: 0,
            };
            wording
                .call(n(0), kfd(nr::AVAILABLE_MEMORY), &mut call)
                .map(|()| vec![call.available])
        }
        "queue" => queue(n(0), n(1) as u32, n(2) as u32, wording),
        "destroy" => {
            let mut call = DestroyQueue {
                queue_id: n(1) as u32,
                pad: 0,
            };
            wording
                .call(n(0), kfd(nr::DESTROY_QUEUE), &mut call)
                .map(|()| vec![])
        }
        "mask" => {
            let words: Vec<u32> = arguments[2..]
                .iter()
                .filter(|word| !word.contains('='))
                .map(|w| number(w) as u32)
                .collect();
            let cu_mask_ptr = words.as_ptr() as u64;
            let mut call = SetCuMask {
                queue_id: n(1) as u32,
                num_cu_mask: words.len() as u32 * 32,
                cu_mask_ptr,
            };
            wording
                .call(n(0), kfd(nr::SET_CU_MASK), &mut call)
                .map(|()| vec![])
        }
        "bad-mask" => {
            let mut call = SetCuMask {
                queue_id: n(1) as u32,
                num_cu_mask: n(2) as u32,
                cu_mask_ptr: 8,
            };
            wording
                .call(n(0), kfd(nr::SET_CU_MASK), &mut call)
                .map(|()| vec![])
        }
        "svm" => shared_memory(n(0), (n(1), n(2)), &arguments[3..]),
        "criu" => {
            let mut call = Criu {
                op: n(1) as u32,
                ..Criu::zeroed()
            };
            wording.call(n(0), kfd(nr::CRIU_OP), &mut call).map(|()| vec![])
        }
        _ => return None,
    })
}

/// Addresses on the GPU that no other buffer has.
fn fresh_address(size: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x10_0000_0000);
    NEXT.fetch_add(size.next_multiple_of(1 << 21), Ordering::Relaxed)
}

fn allocate(fd: u64, (gpu_id, size, flags): (u32, u64, u32), wording: Wording) -> Outcome {
    let va_addr = fresh_address(size.min(1 << 40));
    let mut call = AllocMemory {
        va_addr,
        size,
        handle: 0,
        mmap_offset: 0,
        gpu_id,
        flags,
    };
    wording.call(fd, kfd(nr::ALLOC_MEMORY_OF_GPU), &mut call)?;
    Ok(vec![call.handle, va_addr])
}

fn map(fd: u64, handle: u64, number: u32) -> Outcome {
    let gpu_id = (handle >> 32) as u32;
    let mut call = MapMemory {
        handle,
        device_ids_array_ptr: (&raw const gpu_id) as u64,
        n_devices: 1,
        n_success: 0,
    };
    Wording::of(&[]).call(fd, kfd(number), &mut call)?;
    Ok(vec![])
}

/// What a compute queue on an MI300X brings along. Source: Linux, kfd_queue.c, `kfd_queue_ctx_save_restore_size()`, for
/// gfx9.4.2 with 8 XCCs of 38 compute units.
mod save_area {
    const UNITS: u32 = 38;
    const WAVES: u32 = UNITS * 40;
    /// `ctl_stack_size`.
    pub const CONTROL_STACK: u32 = (40 + WAVES * 8 + 8u32).next_multiple_of(4096);
    /// `ctx_save_restore_size`: of one XCC.
    pub const PER_XCC: u32 =
        CONTROL_STACK + (UNITS * (0x80000 + 0x4000 + 0x10000 + 0x1000)).next_multiple_of(4096);
    /// Bytes of the area of all XCCs, a debugger's included.
    pub const TOTAL: u64 = ((PER_XCC + (WAVES * 32).next_multiple_of(64)) as u64 * 8).next_multiple_of(4096);
}

/// A queue with buffers of its own in system memory.
fn queue(fd: u64, gpu_id: u32, queue_type: u32, wording: Wording) -> Outcome {
    let buffer = |size: u64| {
        let [handle, address] = allocate(fd, (gpu_id, size, alloc_flag::GTT), Wording::of(&[]))?[..] else {
            return Err(0);
        };
        map(fd, handle, nr::MAP_MEMORY_TO_GPU).map(|_| address)
    };
    let pointers = buffer(4096)?;
    let mut call = CreateQueue {
        ring_base_address: buffer(4096)?,
        write_pointer_address: pointers,
        read_pointer_address: pointers + 8,
        ring_size: 4096,
        gpu_id,
        queue_type,
        queue_percentage: 100,
        queue_priority: 7,
        ..CreateQueue::zeroed()
    };
    if matches!(queue_type, queue_type::COMPUTE | queue_type::COMPUTE_AQL) {
        call.eop_buffer_address = buffer(4096)?;
        call.eop_buffer_size = 4096;
        call.ctx_save_restore_address = buffer(save_area::TOTAL)?;
        call.ctx_save_restore_size = save_area::PER_XCC;
        call.ctl_stack_size = save_area::CONTROL_STACK;
    }
    wording.call(fd, kfd(nr::CREATE_QUEUE), &mut call)?;
    Ok(vec![call.queue_id.into()])
}

/// SET_ATTR with `preferred=GPU`, `prefetch=GPU`, `access=GPU`.
fn shared_memory(fd: u64, (start_addr, size): (u64, u64), attributes: &[&str]) -> Outcome {
    let attributes = attributes.iter().map(|word| {
        let (name, value) = word.split_once('=').unwrap();
        let kind = match name {
            "preferred" => svm::ATTR_PREFERRED_LOC,
            "prefetch" => svm::ATTR_PREFETCH_LOC,
            "access" => svm::ATTR_ACCESS,
            name => panic!("no attribute {name}"),
        };
        SvmAttribute {
            kind,
            value: number(value) as u32,
        }
    });
    let attributes: Vec<SvmAttribute> = attributes.collect();
    let head = Svm {
        start_addr,
        size,
        op: svm::OP_SET_ATTR,
        nattr: attributes.len() as u32,
    };
    let mut bytes = head.as_bytes().to_vec();
    attributes
        .iter()
        .for_each(|attribute| bytes.extend(attribute.as_bytes()));
    ioctl_at(
        fd,
        iowr(IOCTL_TYPE, nr::SVM, bytes.len()),
        bytes.as_mut_ptr() as usize,
    )
    .map(|()| vec![])
}
