//! The DRM and amdgpu ioctls of render nodes that matter here.
//! Source: Linux, `include/uapi/drm/drm.h` and `include/uapi/drm/amdgpu_drm.h`.
#![allow(missing_docs, reason = "numbers and fields bear the kernel's own names")]

/// `DRM_IOCTL_BASE`.
pub const IOCTL_TYPE: u8 = b'd';

/// The major device number of DRM nodes; the minor of `renderD<M>` is M.
pub const MAJOR: u32 = 226;

/// The first minor number of render nodes.
pub const FIRST_RENDER_MINOR: u32 = 128;

/// `_IOC_NR` of each call; amdgpu's own begin at 0x40 (`DRM_COMMAND_BASE`).
pub mod nr {
    pub const VERSION: u32 = 0x00;
    pub const GET_CLIENT: u32 = 0x05;
    pub const GEM_CLOSE: u32 = 0x09;
    pub const GET_CAP: u32 = 0x0c;
    pub const PRIME_HANDLE_TO_FD: u32 = 0x2d;
    pub const PRIME_FD_TO_HANDLE: u32 = 0x2e;
    pub const AMDGPU_GEM_CREATE: u32 = 0x40;
    pub const AMDGPU_GEM_MMAP: u32 = 0x41;
    pub const AMDGPU_CTX: u32 = 0x42;
    pub const AMDGPU_CS: u32 = 0x44;
    pub const AMDGPU_INFO: u32 = 0x45;
    pub const AMDGPU_GEM_OP: u32 = 0x50;
    pub const AMDGPU_GEM_USERPTR: u32 = 0x51;
    pub const AMDGPU_USERQ: u32 = 0x56;
}

/// `domains` of a buffer object.
pub mod domain {
    pub const CPU: u64 = 1;
    pub const GTT: u64 = 2;
    pub const VRAM: u64 = 4;
}

/// `op` of AMDGPU_GEM_OP.
pub mod gem_op {
    pub const GET_GEM_CREATE_INFO: u32 = 0;
    pub const SET_PLACEMENT: u32 = 1;
}

/// `query` of AMDGPU_INFO.
pub mod info {
    pub const ACCEL_WORKING: u32 = 0x00;
    pub const VRAM_USAGE: u32 = 0x10;
    pub const GTT_USAGE: u32 = 0x11;
    pub const VRAM_GTT: u32 = 0x14;
    pub const READ_MMR_REG: u32 = 0x15;
    pub const DEV_INFO: u32 = 0x16;
    pub const VIS_VRAM_USAGE: u32 = 0x17;
    pub const MEMORY: u32 = 0x19;
}

crate::kernel_structs! {
    /// `union drm_amdgpu_gem_create` going in; coming out, its first four bytes are the handle.
    GemCreate = 32 { bo_size: u64, alignment: u64, domains: u64, domain_flags: u64, }

    /// `struct drm_gem_close` of DRM itself.
    GemClose = 8 { handle: u32, pad: u32, }

    GemOp = 16 { handle: u32, op: u32, value: u64, }

    /// The head of `struct drm_amdgpu_info`; the query's own arguments follow.
    Info = 16 { return_pointer: u64, return_size: u32, query: u32, }

    /// Answer to [`info::VRAM_GTT`].
    InfoVramGtt = 24 { vram_size: u64, vram_cpu_accessible_size: u64, gtt_size: u64, }

    /// One of the three parts of [`InfoMemory`].
    HeapInfo = 32 { total_heap_size: u64, usable_heap_size: u64, heap_usage: u64, max_allocation: u64, }
}

crate::kernel_structs! {
    /// Answer to [`info::MEMORY`].
    InfoMemory = 96 { vram: HeapInfo, cpu_accessible_vram: HeapInfo, gtt: HeapInfo, }
}
