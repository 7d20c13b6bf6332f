//! The two pages as the shim sees them: opened, checked, mapped, read.

use core::ffi::CStr;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use sdg_abi::limits::{self, GpuLimits, LimitsPage};
use sdg_abi::usage::{self, UsagePage};
use sdg_abi::words::{AtomicU32, AtomicU64, MODELLED};
use sdg_abi::{Plain, sequence};

use crate::mask::Mask;
use crate::report::{Reason, Refusal};
use crate::sys::{self, Access, File, Inheritance, Mapping};

/// Where the two pages are.
#[derive(Clone, Copy, Debug)]
pub struct Paths {
    /// The limits page.
    pub limits: &'static CStr,
    /// The usage page.
    pub usage: &'static CStr,
}

/// How much of a slot is looked through, and of a mask: all that there is.
const GPUS: usize = if MODELLED { 1 } else { limits::MAX_GPUS };
const MASK_WORDS: usize = if MODELLED { 2 } else { limits::MASK_WORDS };
/// How often a page that is being changed is read again at once.
const AT_ONCE: u32 = if MODELLED { 0 } else { 10 };

/// A place in a page that the host or another process may write at any time.
///
/// # Safety
/// `field` lies in a mapping that is there for the life of the process and is aligned.
unsafe fn atomic32(field: *const u32) -> &'static AtomicU32 {
    // SAFETY: the caller's; AtomicU32 has the layout of u32.
    unsafe { &*field.cast::<AtomicU32>() }
}

/// As [`atomic32`].
///
/// # Safety
/// As [`atomic32`].
unsafe fn atomic64(field: *const u64) -> &'static AtomicU64 {
    // SAFETY: the caller's; AtomicU64 has the layout of u64.
    unsafe { &*field.cast::<AtomicU64>() }
}

fn map_whole(path: &'static CStr, access: Access, length: usize) -> Result<(*mut u8, sys::Stat), Refusal> {
    let refuse = |reason| Refusal { path, reason };
    let file = File::open(path, access).map_err(|error| refuse(Reason::Open(error)))?;
    let stat = sys::fstat(file.fd()).ok_or(refuse(Reason::Open(sys::errno::EBADF)))?;
    if stat.size < length as u64 {
        return Err(refuse(Reason::Short(stat.size)));
    }
    let mapping = match access {
        Access::Read => Mapping::ReadOnly(&file),
        Access::ReadWrite => Mapping::Shared(&file),
    };
    let address =
        sys::map(mapping, length, Inheritance::Absent).map_err(|error| refuse(Reason::Map(error)))?;
    Ok((address, stat))
}

/// What is wrong with a head of the limits page.
fn fault(head: &limits::Header) -> Option<Reason> {
    if head.magic != limits::MAGIC {
        Some(Reason::Magic)
    } else if head.version != limits::VERSION {
        Some(Reason::Version(head.version))
    } else if head.size as usize != limits::PAGE_SIZE
        || !(1..=limits::MAX_GPUS).contains(&(head.gpu_count as usize))
    {
        Some(Reason::Head)
    } else {
        None
    }
}

/// The limits page for one look, read piece by piece and not mapped: a mapping, or room for the whole page, costs page
/// faults, and each program of a container looks once. It gives each GPU's mask.
pub struct Glance {
    file: File,
    header: limits::Header,
    left: u32,
}

impl Glance {
    /// Opens the page; none where no such page is there.
    pub fn open(path: &CStr) -> Option<Self> {
        let file = File::open(path, Access::Read).ok()?;
        let mut bytes = [0; size_of::<limits::Header>()];
        file.read(&mut bytes).ok()?;
        let header = limits::Header::from_prefix(&bytes);
        fault(&header).is_none().then_some(Self {
            file,
            header,
            left: header.gpu_count,
        })
    }

    /// Whether the host has changed nothing meanwhile, as `sequence::read` finds out.
    pub fn is_settled(&self) -> bool {
        let mut bytes = [0; size_of::<limits::Header>()];
        let is_read = self.file.read_at_start(&mut bytes) == Ok(bytes.len());
        let before = self.header.sequence;
        is_read && before & 1 == 0 && limits::Header::from_prefix(&bytes).sequence == before
    }
}

impl Iterator for Glance {
    type Item = Mask;

    fn next(&mut self) -> Option<Mask> {
        self.left = self.left.checked_sub(1)?;
        let mut bytes = [0; size_of::<GpuLimits>()];
        let is_whole = self.file.read(&mut bytes) == Ok(bytes.len());
        let gpu = GpuLimits::from_prefix(&bytes);
        is_whole.then(|| Mask::new(gpu.mask_bits, &gpu.mask))
    }
}

/// The limits page, mapped.
#[derive(Clone, Copy)]
pub struct Limits {
    page: *const LimitsPage,
    path: &'static CStr,
}

impl Limits {
    /// Maps and checks the page.
    pub fn open(path: &'static CStr) -> Result<Self, Refusal> {
        let (address, _) = map_whole(path, Access::Read, limits::PAGE_SIZE)?;
        let limits = Self {
            page: address.cast_const().cast(),
            path,
        };
        // SAFETY: the mapping has the page's size; the head's constant part does not change.
        let head = unsafe { core::ptr::read_volatile(&raw const (*limits.page).header) };
        let Some(reason) = fault(&head) else {
            return Ok(limits);
        };
        // SAFETY: mapped above with this length, and `limits` is not returned.
        unsafe { sys::unmap(address, limits::PAGE_SIZE) };
        Err(Refusal { path, reason })
    }

    /// Number of GPUs, 1 … 64.
    pub fn gpu_count(&self) -> usize {
        // SAFETY: within the mapping; the field does not change.
        unsafe { core::ptr::read_volatile(&raw const (*self.page).header.gpu_count) as usize }
    }

    /// Goes up with each change.
    pub fn generation(&self) -> u64 {
        // SAFETY: within the mapping.
        unsafe { atomic64(&raw const (*self.page).header.generation) }.load(Ordering::Acquire)
    }

    /// Waits until the host wakes those who wait for a change, if the generation is `known` still; at most so many seconds.
    pub fn wait_for_change(&self, known: u64, seconds: u64) {
        // The low half: a futex is a word of 32 bits.
        // SAFETY: within the mapping; only its address is taken.
        let word = unsafe { &raw const (*self.page).header.generation }.cast::<u32>();
        sys::futex_wait_shared(word, known as u32, seconds);
    }

    /// Device number of the KFD; `None` where the host did not say.
    pub fn kfd_device(&self) -> Option<(u32, u32)> {
        // SAFETY: within the mapping; the fields do not change.
        let head = unsafe { core::ptr::read_volatile(&raw const (*self.page).header) };
        (head.kfd_major != 0).then_some((head.kfd_major, head.kfd_minor))
    }

    fn entry(&self, gpu: usize) -> *const GpuLimits {
        // SAFETY: within the mapping, since the index is held below the number of entries.
        unsafe {
            (&raw const (*self.page).gpus)
                .cast::<GpuLimits>()
                .add(gpu.min(limits::MAX_GPUS - 1))
        }
    }

    /// Index of the GPU with the KFD's `gpu_id`; `None` where it is not the slice's.
    pub fn index_of(&self, gpu_id: u32) -> Option<usize> {
        // SAFETY: within the mapping; the field does not change.
        (0..self.gpu_count()).find(|gpu| unsafe { (*self.entry(*gpu)).gpu_id } == gpu_id)
    }

    /// Index of the GPU with the render node of this minor number; `None` where it is not the slice's.
    pub fn index_of_render_minor(&self, minor: u32) -> Option<usize> {
        // SAFETY: within the mapping; the field does not change.
        (0..self.gpu_count()).find(|gpu| unsafe { (*self.entry(*gpu)).render_minor } == minor)
    }

    /// The KFD's id of a GPU.
    pub fn gpu_id(&self, gpu: usize) -> u32 {
        // SAFETY: within the mapping; the field does not change.
        unsafe { (*self.entry(gpu)).gpu_id }
    }

    /// Number of XCCs of a GPU.
    pub fn xcc_count(&self, gpu: usize) -> u32 {
        // SAFETY: within the mapping; the field does not change.
        unsafe { (*self.entry(gpu)).xcc_count }
    }

    /// Bytes that the slice may have on a GPU now.
    pub fn memory_limit(&self, gpu: usize) -> u64 {
        // SAFETY: within the mapping. One aligned word is never seen half-written: no need of the sequence lock.
        // Sequentially consistent: see `Process::try_reserve`.
        unsafe { atomic64(&raw const (*self.entry(gpu)).memory_limit) }.load(Ordering::SeqCst)
    }

    /// Bytes that the container's view of a GPU shows as its total; where the host does not say, what may be had now.
    pub fn memory_total(&self, gpu: usize) -> u64 {
        // SAFETY: within the mapping; one aligned word, as above.
        match unsafe { atomic64(&raw const (*self.entry(gpu)).memory_total) }.load(Ordering::Acquire) {
            0 => self.memory_limit(gpu),
            total => total,
        }
    }

    /// The slice's mask on a GPU, and the generation that it is of.
    pub fn mask(&self, gpu: usize) -> Result<(Mask, u64), Refusal> {
        // SAFETY: within the mapping.
        let lock = unsafe { atomic32(&raw const (*self.page).header.sequence) };
        // A host that was killed in the middle of a change leaves the sequence odd until the next one.
        for attempt in 0..2000 {
            if let Some(read) = sequence::read(lock, || (self.mask_now(gpu), self.generation())) {
                return Ok(read);
            }
            if attempt > AT_ONCE {
                sys::sleep_microseconds(500);
            }
        }
        Err(Refusal {
            path: self.path,
            reason: Reason::Changing,
        })
    }

    /// The mask as it can be read at this moment, perhaps in the middle of a change.
    fn mask_now(&self, gpu: usize) -> Mask {
        let entry = self.entry(gpu);
        // SAFETY: within the mapping.
        let bits = unsafe { atomic32(&raw const (*entry).mask_bits) }.load(Ordering::Relaxed);
        let mut words = [0; limits::MASK_WORDS];
        for (index, word) in words.iter_mut().enumerate().take(MASK_WORDS) {
            // SAFETY: within the mapping, since the index is below the number of words.
            let there = unsafe { atomic32((&raw const (*entry).mask).cast::<u32>().add(index)) };
            *word = there.load(Ordering::Relaxed);
        }
        Mask::new(bits, &words)
    }
}

/// The usage page, mapped.
#[derive(Clone, Copy)]
pub struct Usage {
    page: *const UsagePage,
    identity: (u64, u64),
    path: &'static CStr,
}

/// A process's slot in the usage page.
#[derive(Clone, Copy)]
pub struct Slot {
    slot: *const usage::Slot,
}

impl Usage {
    /// Maps and checks the page.
    pub fn open(path: &'static CStr) -> Result<Self, Refusal> {
        let (address, stat) = map_whole(path, Access::ReadWrite, usage::PAGE_SIZE)?;
        let page: *const UsagePage = address.cast_const().cast();
        // SAFETY: the mapping has the page's size; what is looked at does not change.
        let head = unsafe { core::ptr::read_volatile(&raw const (*page).header) };
        let reason = if head.magic != usage::MAGIC {
            Reason::Magic
        } else if head.version != usage::VERSION {
            Reason::Version(head.version)
        } else if head.size as usize != usage::PAGE_SIZE {
            Reason::Head
        } else {
            return Ok(Self {
                page,
                identity: stat.identity,
                path,
            });
        };
        // SAFETY: mapped above with this length, and nothing points into it.
        unsafe { sys::unmap(address, usage::PAGE_SIZE) };
        Err(Refusal { path, reason })
    }

    /// Opens the page's file again, for its locks; `Err` where the path no longer leads to it (after a chroot, say).
    pub fn reopen(&self) -> Result<File, Refusal> {
        let refuse = |error| Refusal {
            path: self.path,
            reason: Reason::Open(error),
        };
        let file = File::open(self.path, Access::ReadWrite).map_err(refuse)?;
        let is_same = sys::fstat(file.fd()).is_some_and(|stat| stat.identity == self.identity);
        if is_same {
            Ok(file)
        } else {
            Err(refuse(sys::errno::EBADF))
        }
    }

    /// A refusal that names this page.
    pub fn refusal(&self, reason: Reason) -> Refusal {
        Refusal {
            path: self.path,
            reason,
        }
    }

    /// Slots below this number have been used.
    pub fn high_water(&self) -> &AtomicU32 {
        // SAFETY: within the mapping.
        unsafe { atomic32(&raw const (*self.page).header.high_water) }
    }

    /// Number of slots that may hold something.
    pub fn slots_in_use(&self) -> usize {
        (self.high_water().load(Ordering::SeqCst) as usize).min(usage::MAX_SLOTS)
    }

    /// Allocations refused for the limit.
    pub fn refused(&self) -> &AtomicU64 {
        // SAFETY: within the mapping.
        unsafe { atomic64(&raw const (*self.page).header.refused) }
    }

    /// Highest use of any one GPU.
    pub fn peak(&self) -> &AtomicU64 {
        // SAFETY: within the mapping.
        unsafe { atomic64(&raw const (*self.page).header.peak) }
    }

    /// Whether there is room for a slot: the host leaves all of them a hole.
    pub fn has_room(&self, file: &File, index: usize) -> bool {
        let size = size_of::<usage::Slot>();
        file.has_room(offset_of!(UsagePage, slots) + index * size, size)
    }

    /// The slot with this index.
    pub fn slot(&self, index: usize) -> Slot {
        let index = index.min(usage::MAX_SLOTS - 1);
        // SAFETY: within the mapping, since the index is held below the number of slots.
        let slot = unsafe { (&raw const (*self.page).slots).cast::<usage::Slot>().add(index) };
        Slot { slot }
    }
}

impl Slot {
    /// Pid of the owner, for people.
    pub fn pid(&self) -> &AtomicU32 {
        // SAFETY: within the mapping.
        unsafe { atomic32(&raw const (*self.slot).pid) }
    }

    /// Number of compute queues with the slice's mask.
    pub fn masked_queues(&self) -> &AtomicU32 {
        // SAFETY: within the mapping.
        unsafe { atomic32(&raw const (*self.slot).masked_queues) }
    }

    /// Generation of the limits page in force on all queues of the owner.
    pub fn acknowledged(&self) -> &AtomicU64 {
        // SAFETY: within the mapping.
        unsafe { atomic64(&raw const (*self.slot).acknowledged) }
    }

    /// Bytes in use on a GPU.
    pub fn used(&self, gpu: usize) -> &AtomicU64 {
        // SAFETY: within the mapping, since the index is held below the number of GPUs.
        unsafe {
            atomic64(
                (&raw const (*self.slot).used)
                    .cast::<u64>()
                    .add(gpu.min(limits::MAX_GPUS - 1)),
            )
        }
    }

    /// Whether anything is noted in the slot.
    pub fn holds_anything(&self) -> bool {
        self.pid().load(Ordering::Relaxed) != 0
            || (0..GPUS).any(|gpu| self.used(gpu).load(Ordering::Relaxed) != 0)
    }

    /// Makes the slot empty.
    pub fn clear(&self) {
        for gpu in 0..GPUS {
            self.used(gpu).store(0, Ordering::SeqCst);
        }
        self.masked_queues().store(0, Ordering::Relaxed);
        self.acknowledged().store(0, Ordering::Relaxed);
        self.pid().store(0, Ordering::Release);
    }
}
