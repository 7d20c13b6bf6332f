//! The program's memory, which may not be what the program says it is.
//!
//! The kernel answers EFAULT where a pointer is bad; the shim must not crash the program instead. A pointer into the
//! caller's own stack frames, as every ROCm library passes, is used as it is; any other is tried by a system call first.

use crate::sys::{self, errno};
use sdg_abi::{Plain, ioc_size};

/// How far above the stack pointer a pointer is believed: the frames of the shim, of the caller and of its wrapper. The
/// pages there exist, since a thread's or the process's own data lie at the very top of its stack.
const OWN_FRAMES: usize = 4096;

fn is_in_own_frames(address: usize, length: usize) -> bool {
    let here = 0u8;
    let bottom = (&raw const here) as usize;
    address > bottom && length < OWN_FRAMES && address.wrapping_sub(bottom) < OWN_FRAMES - length
}

/// Every page of the range, tried by `try_address` at eight bytes that may straddle nothing beyond the range.
fn every_page(address: usize, length: usize, try_address: impl Fn(usize) -> bool) -> bool {
    const PAGE: usize = 4096;
    if length < 8 || address.checked_add(length).is_none() {
        return false;
    }
    let last = address + length - 8;
    let mut tried = address;
    while tried < last {
        if !try_address(tried) {
            return false;
        }
        tried = (tried | (PAGE - 1)) + 1;
    }
    try_address(last)
}

/// Copies the program's bytes; `false` where the kernel could not read them either.
pub fn read(address: usize, into: &mut [u8]) -> bool {
    let length = into.len();
    if length == 0 {
        return true;
    }
    // Fewer than eight bytes cannot be tried alone: what is tried then ends where they end, or begins where they begin.
    let tried = length.max(8);
    let is_readable = is_in_own_frames(address, length)
        || every_page(address, tried, sys::is_readable)
        || (length < 8 && every_page(address.wrapping_sub(8 - length), tried, sys::is_readable));
    if is_readable {
        // SAFETY: the bytes can be read, by what was tried; `into` is the shim's own memory.
        unsafe { core::ptr::copy_nonoverlapping(address as *const u8, into.as_mut_ptr(), length) };
    }
    is_readable
}

/// Writes to the program's memory; `false` where the kernel could not either, and for fewer than eight bytes outside the
/// stack (no structure that a call gives back is that short).
pub fn write(address: usize, bytes: &[u8]) -> bool {
    let length = bytes.len();
    if length == 0 {
        return true;
    }
    // SAFETY: what is overwritten in trying is written with `bytes` right after.
    let is_writable = is_in_own_frames(address, length)
        || every_page(address, length, |address| unsafe {
            sys::make_writable_certain(address)
        });
    if is_writable {
        // SAFETY: the bytes can be written, by what was tried.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, length) };
    }
    is_writable
}

/// Room for an argument: the largest structure handled here, and what later versions may append to it.
const ROOM: usize = 256;

/// A copy of an ioctl's argument, which nothing can change between the check and the call.
///
/// The kernel takes as many bytes as the request says, fills up with zero, and gives back as many: so does this, and the
/// kernel itself is always given at least the whole structure, whatever version of it the program was built with.
pub struct Argument {
    bytes: [u64; ROOM / 8],
    address: usize,
    size: usize,
    request: u32,
    gives_back: bool,
}

impl Argument {
    /// Copies the argument of a KFD call whose structure is `T`; `None` where the program's memory cannot be read (the
    /// kernel is then to answer the call as it is).
    pub fn read<T: Plain>(request: u32, address: usize) -> Option<Self> {
        Self::copy::<T>(request, address, ioc_size(request))
    }

    /// The same for a DRM call, where the request's direction bits count: without `_IOC_WRITE` the driver reads nothing,
    /// without `_IOC_READ` it gives nothing back.
    pub fn read_drm<T: Plain>(request: u32, address: usize) -> Option<Self> {
        const WRITE: u32 = 1 << 30;
        const READ: u32 = 2 << 30;
        let copied = if request & WRITE == 0 {
            0
        } else {
            ioc_size(request)
        };
        let mut argument = Self::copy::<T>(request | WRITE | READ, address, copied)?;
        argument.size = ioc_size(request).min(ROOM);
        argument.gives_back = request & READ != 0;
        Some(argument)
    }

    fn copy<T: Plain>(request: u32, address: usize, size: usize) -> Option<Self> {
        const SIZE_BITS: u32 = 0x3fff << 16;
        let size = size.min(ROOM);
        let whole = size.max(size_of::<T>());
        let request = (request & !SIZE_BITS) | ((whole as u32) << 16);
        let mut argument = Self {
            bytes: [0; ROOM / 8],
            address,
            size,
            request,
            gives_back: true,
        };
        let bytes = argument.bytes.as_mut_ptr().cast::<u8>();
        // SAFETY: `size` is at most ROOM, the size of `bytes`.
        let bytes = unsafe { core::slice::from_raw_parts_mut(bytes, size) };
        read(address, bytes).then_some(argument)
    }

    /// The structure at the beginning of the argument. `T` is what it was read as.
    pub fn view<T: Plain>(&mut self) -> &mut T {
        const { assert!(size_of::<T>() <= ROOM && align_of::<T>() <= 8) };
        // SAFETY: `bytes` is large enough and aligned for `T`, which any bytes are a value of.
        unsafe { &mut *self.bytes.as_mut_ptr().cast::<T>() }
    }

    /// Makes the call with the copy.
    pub fn call(&mut self, fd: i32) -> isize {
        sys::ioctl(fd, self.request, self.bytes.as_mut_ptr() as usize)
    }

    /// Gives the program what the call wrote, whether it succeeded or not, and turns its result into EFAULT where that is
    /// impossible: as the kernel does.
    pub fn give_back(&self, result: isize) -> isize {
        if !self.gives_back {
            return result;
        }
        let bytes = self.bytes.as_ptr().cast::<u8>();
        // SAFETY: `size` is at most ROOM, the size of `bytes`.
        let bytes = unsafe { core::slice::from_raw_parts(bytes, self.size) };
        if write(self.address, bytes) {
            result
        } else {
            -errno::EFAULT
        }
    }
}
