//! The KFD's ioctls. Source: Linux, `include/uapi/linux/kfd_ioctl.h`, version 1.22.
//!
//! The kernel looks at the number alone and copies `_IOC_SIZE` bytes: match on [`crate::ioc_nr`].
#![allow(missing_docs, reason = "numbers and fields bear the kernel's own names")]

/// `AMDKFD_IOCTL_BASE`, the type byte that user space sends.
pub const IOCTL_TYPE: u8 = b'K';

/// Interface version that the layouts below are of.
pub const VERSION_MAJOR: u32 = 1;
/// Interface version that the layouts below are of.
pub const VERSION_MINOR: u32 = 22;

/// `_IOC_NR` of each call.
pub mod nr {
    pub const GET_VERSION: u32 = 0x01;
    pub const CREATE_QUEUE: u32 = 0x02;
    pub const DESTROY_QUEUE: u32 = 0x03;
    pub const SET_MEMORY_POLICY: u32 = 0x04;
    pub const GET_CLOCK_COUNTERS: u32 = 0x05;
    pub const GET_PROCESS_APERTURES: u32 = 0x06;
    pub const UPDATE_QUEUE: u32 = 0x07;
    pub const CREATE_EVENT: u32 = 0x08;
    pub const DESTROY_EVENT: u32 = 0x09;
    pub const SET_EVENT: u32 = 0x0a;
    pub const RESET_EVENT: u32 = 0x0b;
    pub const WAIT_EVENTS: u32 = 0x0c;
    pub const SET_SCRATCH_BACKING_VA: u32 = 0x11;
    pub const GET_TILE_CONFIG: u32 = 0x12;
    pub const SET_TRAP_HANDLER: u32 = 0x13;
    pub const GET_PROCESS_APERTURES_NEW: u32 = 0x14;
    pub const ACQUIRE_VM: u32 = 0x15;
    pub const ALLOC_MEMORY_OF_GPU: u32 = 0x16;
    pub const FREE_MEMORY_OF_GPU: u32 = 0x17;
    pub const MAP_MEMORY_TO_GPU: u32 = 0x18;
    pub const UNMAP_MEMORY_FROM_GPU: u32 = 0x19;
    pub const SET_CU_MASK: u32 = 0x1a;
    pub const GET_QUEUE_WAVE_STATE: u32 = 0x1b;
    pub const GET_DMABUF_INFO: u32 = 0x1c;
    pub const IMPORT_DMABUF: u32 = 0x1d;
    pub const ALLOC_QUEUE_GWS: u32 = 0x1e;
    pub const SMI_EVENTS: u32 = 0x1f;
    pub const SVM: u32 = 0x20;
    pub const SET_XNACK_MODE: u32 = 0x21;
    pub const CRIU_OP: u32 = 0x22;
    pub const AVAILABLE_MEMORY: u32 = 0x23;
    pub const EXPORT_DMABUF: u32 = 0x24;
    pub const RUNTIME_ENABLE: u32 = 0x25;
    pub const DBG_TRAP: u32 = 0x26;
    pub const CREATE_PROCESS: u32 = 0x27;
    /// Of AMD's packaged driver only, as are all from 0x80 on (ROCm/ROCK-Kernel-Driver, the same header).
    pub const IPC_IMPORT_HANDLE: u32 = 0x80;
    pub const IPC_EXPORT_HANDLE: u32 = 0x81;
}

/// `queue_type` of CREATE_QUEUE.
pub mod queue_type {
    pub const COMPUTE: u32 = 0;
    pub const SDMA: u32 = 1;
    pub const COMPUTE_AQL: u32 = 2;
    pub const SDMA_XGMI: u32 = 3;
    pub const SDMA_BY_ENG_ID: u32 = 4;
}

/// `flags` of ALLOC_MEMORY_OF_GPU.
pub mod alloc_flag {
    pub const VRAM: u32 = 1 << 0;
    pub const GTT: u32 = 1 << 1;
    pub const USERPTR: u32 = 1 << 2;
    pub const DOORBELL: u32 = 1 << 3;
    pub const MMIO_REMAP: u32 = 1 << 4;
    pub const CONTIGUOUS: u32 = 1 << 23;
    /// Only half of `size` is allocated: the ring is mapped twice.
    pub const AQL_QUEUE_MEM: u32 = 1 << 27;
    pub const NO_SUBSTITUTE: u32 = 1 << 28;
    pub const PUBLIC: u32 = 1 << 29;
    pub const EXECUTABLE: u32 = 1 << 30;
    pub const WRITABLE: u32 = 1 << 31;
}

/// `op` of CRIU_OP.
pub mod criu_op {
    pub const PROCESS_INFO: u32 = 0;
    pub const CHECKPOINT: u32 = 1;
    pub const UNPAUSE: u32 = 2;
    pub const RESTORE: u32 = 3;
    pub const RESUME: u32 = 4;
}

/// Operations and attributes of SVM.
pub mod svm {
    pub const OP_SET_ATTR: u32 = 0;
    pub const OP_GET_ATTR: u32 = 1;
    pub const ATTR_PREFERRED_LOC: u32 = 0;
    pub const ATTR_PREFETCH_LOC: u32 = 1;
    pub const ATTR_ACCESS: u32 = 2;
    pub const ATTR_ACCESS_IN_PLACE: u32 = 3;
    pub const ATTR_NO_ACCESS: u32 = 4;
    pub const ATTR_SET_FLAGS: u32 = 5;
    pub const ATTR_CLR_FLAGS: u32 = 6;
    pub const ATTR_GRANULARITY: u32 = 7;
    /// A location: system memory.
    pub const LOCATION_SYSMEM: u32 = 0;
    /// A location: none given.
    pub const LOCATION_UNDEFINED: u32 = 0xffff_ffff;
}

crate::kernel_structs! {
    GetVersion = 8 { major_version: u32, minor_version: u32, }

    CreateQueue = 96 {
        ring_base_address: u64,
        write_pointer_address: u64,
        read_pointer_address: u64,
        doorbell_offset: u64,
        ring_size: u32,
        gpu_id: u32,
        queue_type: u32,
        queue_percentage: u32,
        queue_priority: u32,
        queue_id: u32,
        eop_buffer_address: u64,
        eop_buffer_size: u64,
        ctx_save_restore_address: u64,
        ctx_save_restore_size: u32,
        ctl_stack_size: u32,
        sdma_engine_id: u32,
        metadata_ring_size: u32,
    }

    DestroyQueue = 8 { queue_id: u32, pad: u32, }

    UpdateQueue = 24 {
        ring_base_address: u64,
        queue_id: u32,
        ring_size: u32,
        queue_percentage: u32,
        queue_priority: u32,
    }

    SetCuMask = 16 { queue_id: u32, num_cu_mask: u32, cu_mask_ptr: u64, }

    AllocMemory = 40 { va_addr: u64, size: u64, handle: u64, mmap_offset: u64, gpu_id: u32, flags: u32, }

    FreeMemory = 8 { handle: u64, }

    MapMemory = 24 { handle: u64, device_ids_array_ptr: u64, n_devices: u32, n_success: u32, }

    AvailableMemory = 16 { available: u64, gpu_id: u32, pad: u32, }

    AcquireVm = 8 { drm_fd: u32, gpu_id: u32, }

    GetDmabufInfo = 32 { size: u64, metadata_ptr: u64, metadata_size: u32, gpu_id: u32, flags: u32, dmabuf_fd: u32, }

    ImportDmabuf = 24 { va_addr: u64, handle: u64, gpu_id: u32, dmabuf_fd: u32, }

    IpcExportHandle = 32 { handle: u64, share_handle: [u32; 4], gpu_id: u32, flags: u32, }

    IpcImportHandle = 48 {
        handle: u64,
        va_addr: u64,
        mmap_offset: u64,
        share_handle: [u32; 4],
        gpu_id: u32,
        flags: u32,
    }

    ExportDmabuf = 16 { handle: u64, flags: u32, dmabuf_fd: u32, }

    Criu = 56 {
        devices: u64,
        bos: u64,
        priv_data: u64,
        priv_data_size: u64,
        num_devices: u32,
        num_bos: u32,
        num_objects: u32,
        pid: u32,
        op: u32,
        pad: u32,
    }

    /// Followed by `nattr` times [`SvmAttribute`].
    Svm = 24 { start_addr: u64, size: u64, op: u32, nattr: u32, }

    SvmAttribute = 8 { kind: u32, value: u32, }
}
