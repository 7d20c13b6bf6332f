//! Compute queues: each has a mask within the slice's, from its creation on.

use core::ffi::c_char;
use core::sync::atomic::Ordering;

use sdg_abi::iowr;
use sdg_abi::kfd::{self, CreateQueue, DestroyQueue, SetCuMask, queue_type};
use sdg_abi::limits::MASK_WORDS;

use crate::array::Array;
use crate::caller::{self, Argument};
use crate::mask::{self, Mask};
use crate::pages::Limits;
use crate::process::{Anchor, Process};
use crate::report;
use crate::sys::{self, Access, File, errno};

/// A compute queue of this process.
#[derive(Clone, Copy)]
struct Queue {
    fd: i32,
    id: u32,
    gpu: usize,
    /// The program's own mask, if it is more than a repetition of the slice's.
    wish: Option<Mask>,
    /// What is in force. The kernel is not told the same again: setting a mask stops the queue's waves for a moment.
    mask: Mask,
}

/// The compute queues of this process; all zero is none.
#[derive(Default)]
pub struct Queues {
    queues: Array<Queue>,
}

impl Queues {
    /// Ids are the KFD context's own; a descriptor tells contexts apart, but may be a duplicate of the queue's.
    fn find(&self, fd: i32, id: u32) -> Option<usize> {
        let queues = self.queues.as_slice();
        let same = queues.iter().position(|queue| queue.id == id && queue.fd == fd);
        same.or_else(|| queues.iter().position(|queue| queue.id == id))
    }
}

/// CREATE_QUEUE: a compute queue whose mask cannot be set is not had at all.
#[inline(never)]
pub fn create(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(mut argument) = Argument::read::<CreateQueue>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let CreateQueue {
        queue_type, gpu_id, ..
    } = *argument.view();
    if !matches!(queue_type, queue_type::COMPUTE | queue_type::COMPUTE_AQL) {
        return sys::ioctl(fd, request, address);
    }
    let Some(process) = anchor.enter_or_refuse() else {
        return -errno::ENOMEM;
    };
    let Some(gpu) = process.pages().limits.index_of(gpu_id) else {
        return -errno::EINVAL;
    };
    process.keep_up();
    let Some(slot) = process.slot() else {
        return -errno::ENOMEM;
    };
    // Counted before the mask is read: a host that has changed it either sees the queue, and waits for it, or the queue
    // has the new mask.
    slot.masked_queues().fetch_add(1, Ordering::SeqCst);
    let result = create_masked(process, &mut argument, (fd, gpu));
    if result != 0 {
        slot.masked_queues().fetch_sub(1, Ordering::Relaxed);
        return result;
    }
    argument.give_back(0)
}

/// A queue with its mask set and noted, or an error and no queue.
fn create_masked(process: &Process, argument: &mut Argument, (fd, gpu): (i32, usize)) -> isize {
    // Held over the calls: a change of masks must find this queue either not yet made or in the table.
    let mut queues = process.queues.lock();
    let mask = match process.pages().limits.mask(gpu) {
        Ok((mask, _)) => mask,
        Err(refusal) => {
            report::refuse(refusal);
            return -errno::ENOMEM;
        }
    };
    if !queues.queues.reserve(1) {
        return -errno::ENOMEM;
    }
    let result = argument.call(fd);
    if result != 0 {
        return argument.give_back(result);
    }
    let id = argument.view::<CreateQueue>().queue_id;
    if set_mask(fd, id, &mask) != 0 {
        destroy_unmasked(fd, id);
        return -errno::ENOMEM;
    }
    queues.queues.push(Queue {
        fd,
        id,
        gpu,
        wish: None,
        mask: named(mask),
    });
    // A whole GPU's mask does not change.
    if mask.bits != 0 {
        process.watch_masks();
    }
    0
}

/// DESTROY_QUEUE.
#[inline(never)]
pub fn destroy(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(process) = anchor.existing() else {
        return sys::ioctl(fd, request, address);
    };
    let Some(mut argument) = Argument::read::<DestroyQueue>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let id = argument.view::<DestroyQueue>().queue_id;
    // Held over the call: the kernel may give the id to a new queue at once.
    let mut queues = process.queues.lock();
    let result = argument.call(fd);
    if let Some(index) = queues.find(fd, id).filter(|_| result == 0) {
        queues.queues.remove(index);
        if let Some(slot) = process.slot() {
            slot.masked_queues().fetch_sub(1, Ordering::Relaxed);
        }
    }
    argument.give_back(result)
}

/// SET_CU_MASK by the program: held within the slice's mask.
#[inline(never)]
pub fn set_cu_mask(anchor: &Anchor, fd: i32, request: u32, address: usize) -> isize {
    let Some(process) = anchor.existing() else {
        return sys::ioctl(fd, request, address);
    };
    let Some(mut argument) = Argument::read::<SetCuMask>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let SetCuMask {
        queue_id,
        num_cu_mask: bits,
        cu_mask_ptr,
    } = *argument.view();
    process.keep_up();
    let mut queues = process.queues.lock();
    let index = queues.find(fd, queue_id);
    let Some(queue) = index.and_then(|index| queues.queues.as_mut_slice().get_mut(index)) else {
        // No compute queue of ours: the kernel knows what to answer.
        return argument.call(fd);
    };
    let Some(wish) = read_mask(bits, cu_mask_ptr) else {
        return argument.call(fd);
    };
    let limits = &process.pages().limits;
    let (slice, xcc_count) = match limits.mask(queue.gpu) {
        Ok((mask, _)) => (mask, limits.xcc_count(queue.gpu)),
        Err(refusal) => {
            report::refuse(refusal);
            return -errno::ENOMEM;
        }
    };
    let wish = Some(wish).filter(|wish| wish.words != slice.words && !repeats_environment(wish));
    let mask = replacement(&slice, xcc_count, wish.as_ref());
    let result = set_mask(fd, queue_id, &mask);
    if result == 0 {
        queue.wish = wish;
        queue.mask = mask;
    }
    result
}

impl Process {
    /// Applies the masks of the limits page to the queues that exist, if the page has changed.
    pub(crate) fn keep_up(&self) {
        if self.pages().limits.generation() != self.applied.load(Ordering::Acquire) {
            self.apply_masks();
        }
    }

    #[cold]
    fn apply_masks(&self) {
        let limits = &self.pages().limits;
        let mut queues = self.queues.lock();
        // Read before the masks: one that changes meanwhile has a later generation, and is applied again.
        let generation = limits.generation();
        if generation == self.applied.load(Ordering::Acquire) {
            return; // Another thread has done it.
        }
        let mut all_set = true;
        for queue in queues.queues.as_mut_slice() {
            all_set &= bring_up_to_date(queue, limits);
        }
        if !all_set {
            return;
        }
        self.applied.store(generation, Ordering::SeqCst);
        self.acknowledge();
    }

    /// Tells the host which generation is in force, if this process has a slot to say it in.
    pub(crate) fn acknowledge(&self) {
        let own = self.own_slot.load(Ordering::SeqCst) as usize;
        if let Some(index) = own.checked_sub(1) {
            let slot = self.pages().usage.slot(index);
            slot.acknowledged()
                .fetch_max(self.applied.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }
}

/// Gives a queue the mask that it is to have now, if it has another.
fn bring_up_to_date(queue: &mut Queue, limits: &Limits) -> bool {
    let Ok((slice, _)) = limits.mask(queue.gpu) else {
        return false;
    };
    let mask = replacement(&slice, limits.xcc_count(queue.gpu), queue.wish.as_ref());
    if mask == queue.mask {
        return true;
    }
    let is_set = set_mask_on_any_descriptor(queue, &mask) == 0;
    if is_set {
        queue.mask = mask;
    }
    is_set
}

/// The mask for a queue that may have another already: it can be replaced, but not taken away.
fn replacement(slice: &Mask, xcc_count: u32, wish: Option<&Mask>) -> Mask {
    named(mask::within(slice, xcc_count, wish))
}

/// No mask is every compute unit.
fn named(mask: Mask) -> Mask {
    if mask.bits == 0 { Mask::ALL } else { mask }
}

fn set_mask(fd: i32, queue_id: u32, mask: &Mask) -> isize {
    if mask.bits == 0 {
        return 0;
    }
    let mut call = SetCuMask {
        queue_id,
        num_cu_mask: mask.bits,
        cu_mask_ptr: mask.words.as_ptr() as u64,
    };
    sys::ioctl_with(
        fd,
        iowr(kfd::IOCTL_TYPE, kfd::nr::SET_CU_MASK, size_of::<SetCuMask>()),
        &mut call,
    )
}

/// The program may have closed the descriptor that it made the queue with; the process's queues live on, and any other
/// descriptor of the KFD reaches them.
fn set_mask_on_any_descriptor(queue: &Queue, mask: &Mask) -> isize {
    let result = set_mask(queue.fd, queue.id, mask);
    if result == 0 {
        return 0;
    }
    match File::open(c"/dev/kfd", Access::ReadWrite) {
        Ok(file) => set_mask(file.fd(), queue.id, mask),
        Err(_) => result,
    }
}

fn destroy_unmasked(fd: i32, queue_id: u32) {
    let mut call = DestroyQueue { queue_id, pad: 0 };
    sys::ioctl_with(
        fd,
        iowr(kfd::IOCTL_TYPE, kfd::nr::DESTROY_QUEUE, size_of::<DestroyQueue>()),
        &mut call,
    );
}

/// Reads the program's mask; `None` where the kernel would find it bad.
fn read_mask(bits: u32, address: u64) -> Option<Mask> {
    if bits == 0 || !bits.is_multiple_of(32) {
        return None;
    }
    let bits = bits.min(MASK_WORDS as u32 * 32);
    let mut bytes = [0; MASK_WORDS * 4];
    let wanted = bytes.get_mut(..bits as usize / 8)?;
    if !caller::read(address as usize, wanted) {
        return None;
    }
    let mut words = [0; MASK_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    Some(Mask::new(bits, &words))
}

#[link(name = "c")]
unsafe extern "C" {
    fn getenv(name: *const c_char) -> *const c_char;
    fn strlen(text: *const c_char) -> usize;
}

/// Whether a mask is the one that the environment told HIP to use for every queue: then it is no wish of the program's,
/// and must not keep its queues from growing with the slice.
fn repeats_environment(wish: &Mask) -> bool {
    // SAFETY: the name ends with a zero byte; what is found is a string that ends with one.
    let text = unsafe {
        let text = getenv(c"ROC_GLOBAL_CU_MASK".as_ptr());
        if text.is_null() {
            return false;
        }
        core::slice::from_raw_parts(text.cast::<u8>(), strlen(text))
    };
    mask::parse_global(text).is_some_and(|global| global.words == wish.words)
}
