//! The usage page: what each process of a slice has allocated. Mapped shared and writable in every process of it.
//!
//! A process owns a slot. It holds an open-file-description write lock (`F_OFD_SETLK`) on the byte
//! `LOCK_BASE + slot` of the file, through the open file that its mapping keeps alive; the kernel drops the lock when
//! the process is gone, however it went and whatever descriptors it closed. **A slot whose byte is not locked counts
//! for nothing**: whoever gets the lock of the byte may clear the slot (and unlock it again) or keep it as its own.
//! The mapping is not inherited over fork (`MADV_DONTFORK`), so a child never keeps its parent's slot.
//!
//! The sum over the live slots is what the slice uses: there is no total that a death could falsify. To allocate, a
//! process adds to its own slot first, then sums; over the limit, it clears the dead slots and sums again, and if that
//! does not help, takes its part back and refuses.
//!
//! The file must be writable by every user of the container, and on a file system whose mappings keep the opened file
//! itself (tmpfs, ext4, xfs; overlayfs does not).

/// "SDGUSAGE" in memory order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SDGUSAGE");
/// Layout version: a reader that does not know it refuses the page by name.
pub const VERSION: u32 = 1;
/// Processes of one slice that can hold GPU memory at a time.
pub const MAX_SLOTS: usize = 512;
/// Where the page is in a container.
pub const CONTAINER_PATH: &str = "/run/sdg/usage";
/// File name of the page in the slice's directory.
pub const FILE_NAME: &str = "usage";
/// Offset of the first lock byte in the file, beyond its data.
pub const LOCK_BASE: u64 = 1 << 40;
/// Lock byte that serialises the retries of allocations near the limit, so that of two that exclude one another one wins.
pub const SWEEP_LOCK: u64 = LOCK_BASE - 1;

crate::kernel_structs! {
    /// Head of the page; `MAX_SLOTS` slots follow at once.
    Header = 64 {
        /// [`MAGIC`].
        magic: u64,
        /// [`VERSION`].
        version: u32,
        /// Size of the page in bytes: [`PAGE_SIZE`].
        size: u32,
        /// Slots below this number have been used at some time: where a sum may stop. Atomic, only ever raised.
        high_water: u32,
        /// Zero.
        pad: u32,
        /// Allocations refused for the slice's limit, by all processes. Atomic.
        refused: u64,
        /// Highest use of any one GPU of the slice that a process saw after a reservation, in bytes. Atomic.
        peak: u64,
        /// Zero.
        reserved: [u32; 6],
    }

    /// One process.
    Slot = 576 {
        /// Pid as the process itself sees it, for people; 0 in a free slot. Atomic.
        pid: u32,
        /// Compute queues that have the slice's mask. Atomic.
        masked_queues: u32,
        /// Generation of the limits page that this process has in force on all its queues. Atomic.
        acknowledged: u64,
        /// Bytes in use on each GPU of the limits page, in its order. Atomic.
        used: [u64; crate::limits::MAX_GPUS],
        /// Zero.
        reserved: [u64; 6],
    }
}

crate::kernel_structs! {
    /// The whole page.
    UsagePage = 294976 {
        /// Head.
        header: Header,
        /// Slots, free or taken.
        slots: [Slot; MAX_SLOTS],
    }
}

/// Size of the page in bytes.
pub const PAGE_SIZE: usize = size_of::<UsagePage>();
