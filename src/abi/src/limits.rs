//! The limits page: what the host allows a slice. Mapped read-only in the container, written by the host alone.
//!
//! Changes are made under a sequence lock: `sequence` is odd while the host writes. A reader copies the entry it
//! wants between two equal, even readings. `generation` goes up with each completed change. `memory_limit`, `mask` and
//! (without a new generation, by a resize) `memory_total` change; which GPUs there are, their order, `xcc_count` and `render_minor` stay for the life of the slice, since the
//! usage page counts by the same order. A writer that finds `sequence` odd (its predecessor was killed) writes every
//! entry again and goes on to the next even number.

/// "SDGLIMIT" in memory order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SDGLIMIT");
/// Layout version: a reader that does not know it refuses the page by name.
pub const VERSION: u32 = 1;
/// Most GPUs of one slice.
pub const MAX_GPUS: usize = 64;
/// Words of a CU mask: room for 1024 compute units.
pub const MASK_WORDS: usize = 32;
/// Where the page is in a container.
pub const CONTAINER_PATH: &str = "/run/sdg/limits";
/// File name of the page in the slice's directory.
pub const FILE_NAME: &str = "limits";

crate::kernel_structs! {
    /// What a slice may have of one GPU.
    GpuLimits = 192 {
        /// The KFD's gpu_id.
        gpu_id: u32,
        /// Minor number of the render node, e.g. 128.
        render_minor: u32,
        /// Memory never exceeded now, in bytes (guarantee plus what is lent).
        memory_limit: u64,
        /// The GPU's XCCs; bit b of a mask lies on XCC b % xcc_count.
        xcc_count: u32,
        /// Bits of the mask that are sent to the KFD: a non-zero multiple of 32; 0 means no mask (a whole GPU).
        mask_bits: u32,
        /// The CU mask, lowest bits first.
        mask: [u32; MASK_WORDS],
        /// Total that the container's view of the GPU shows, in bytes; `memory_limit` never exceeds it. 0: not said.
        memory_total: u64,
        /// Zero.
        reserved: [u32; 8],
    }

    /// Head of the page; `gpu_count` entries of `gpus` follow at once.
    Header = 64 {
        /// [`MAGIC`].
        magic: u64,
        /// [`VERSION`].
        version: u32,
        /// Size of the page in bytes: [`PAGE_SIZE`].
        size: u32,
        /// Sequence lock: odd while the host writes.
        sequence: u32,
        /// Number of GPUs, 1 … [`MAX_GPUS`].
        gpu_count: u32,
        /// Goes up with each change.
        generation: u64,
        /// Device number of `/dev/kfd`, which the kernel assigns at boot (`/sys/class/kfd/kfd/dev`): how the shim knows
        /// the KFD's descriptors whatever their path. Both zero: unknown, the shim asks the container's `/dev/kfd`.
        kfd_major: u32,
        /// See `kfd_major`.
        kfd_minor: u32,
        /// Zero.
        reserved: [u32; 6],
    }
}

crate::kernel_structs! {
    /// The whole page.
    LimitsPage = 12352 {
        /// Head.
        header: Header,
        /// Entries; those from `gpu_count` on are zero.
        gpus: [GpuLimits; MAX_GPUS],
    }
}

/// Size of the page in bytes.
pub const PAGE_SIZE: usize = size_of::<LimitsPage>();
