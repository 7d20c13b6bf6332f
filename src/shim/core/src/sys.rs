//! System calls, made directly: the shim sits below libc's wrappers and must not be entered again through them.
//!
//! A result below zero is the kernel's error number, negated.

use core::arch::asm;
use core::ffi::CStr;

use sdg_abi::Plain;
#[cfg(loom)]
use sdg_abi::modelled;
#[cfg(not(loom))]
use sdg_abi::words::AtomicU32;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("libsdg.so knows the system calls of x86-64 Linux");

/// Error numbers used here. Source: Linux, `include/uapi/asm-generic/errno-base.h`.
#[allow(missing_docs, reason = "the names of the C library")]
pub mod errno {
    pub const EINTR: isize = 4;
    pub const EBADF: isize = 9;
    pub const EAGAIN: isize = 11;
    pub const ENOMEM: isize = 12;
    pub const EACCES: isize = 13;
    pub const EFAULT: isize = 14;
    pub const EINVAL: isize = 22;
    pub const ENOSPC: isize = 28;
}

/// Numbers of the calls. Source: Linux, `arch/x86/entry/syscalls/syscall_64.tbl`.
pub(crate) mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const OPEN: usize = 2;
    pub const CLOSE: usize = 3;
    pub const STAT: usize = 4;
    pub const FSTAT: usize = 5;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const PREAD64: usize = 17;
    pub const MREMAP: usize = 25;
    pub const MSYNC: usize = 26;
    pub const MADVISE: usize = 28;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const FCNTL: usize = 72;
    pub const CAPSET: usize = 126;
    pub const PRCTL: usize = 157;
    pub const FUTEX: usize = 202;
    pub const GETDENTS64: usize = 217;
    pub const FALLOCATE: usize = 285;
}

/// # Safety
/// The kernel reads and writes memory as call `number` says.
#[inline(always)]
pub(crate) unsafe fn call(number: usize, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result;
    // SAFETY: the x86-64 system call convention; the caller answers for the call's own effects.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A call in which processes meet: under the model no two are made at once.
///
/// # Safety
/// As for [`call`].
unsafe fn in_kernel(number: usize, args: [usize; 6]) -> isize {
    #[cfg(loom)]
    let _one_at_a_time = modelled::kernel();
    // SAFETY: the caller's.
    unsafe { call(number, args) }
}

/// `ioctl(2)` with only the registers it has: this is the whole cost of a call that is passed on.
#[inline(always)]
pub fn ioctl(fd: i32, request: u32, arg: usize) -> isize {
    #[cfg(loom)]
    if let Some(result) = modelled::device(request, arg) {
        return result;
    }
    let result;
    // SAFETY: the x86-64 system call convention; `arg` is the program's own, for the driver to judge.
    unsafe {
        asm!("syscall", inlateout("rax") nr::IOCTL => result, in("rdi") fd as usize, in("rsi") request as usize,
             in("rdx") arg, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// What `stat(2)` says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode: which file it is.
    pub identity: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Major and minor number if it is a character device.
    pub device: Option<(u32, u32)>,
}

/// `struct stat` of x86-64, as 64-bit words: dev, ino, nlink, mode and uid, gid, rdev, size, …
type RawStat = [u64; 18];

fn understand(raw: &RawStat) -> Stat {
    let [dev, ino, _, mode_uid, _, rdev, size, ..] = *raw;
    // S_IFMT, S_IFCHR; the halves of a device number as in glibc's gnu_dev_major() and gnu_dev_minor().
    let character = mode_uid & 0o170_000 == 0o020_000;
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & 0xffff_f000);
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xffff_ff00);
    Stat {
        identity: (dev, ino),
        size,
        device: character.then_some((major as u32, minor as u32)),
    }
}

/// What an open descriptor refers to.
pub fn fstat(fd: i32) -> Option<Stat> {
    let mut raw: RawStat = [0; 18];
    // SAFETY: `raw` is as large as the kernel's structure.
    let result = unsafe { call(nr::FSTAT, [fd as usize, (&raw mut raw) as usize, 0, 0, 0, 0]) };
    (result == 0).then(|| understand(&raw))
}

/// What a path refers to.
pub fn stat(path: &CStr) -> Option<Stat> {
    let mut raw: RawStat = [0; 18];
    // SAFETY: `path` ends with a zero byte and `raw` is as large as the kernel's structure.
    let result = unsafe {
        call(
            nr::STAT,
            [path.as_ptr() as usize, (&raw mut raw) as usize, 0, 0, 0, 0],
        )
    };
    (result == 0).then(|| understand(&raw))
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_RDWR`
    ReadWrite,
}

/// A descriptor that is closed when it goes; always close-on-exec.
pub struct File(i32);

impl File {
    /// Opens a file.
    pub fn open(path: &CStr, access: Access) -> Result<Self, isize> {
        const O_RDWR: usize = 2;
        const O_NONBLOCK: usize = 0o4000;
        const O_CLOEXEC: usize = 0o2_000_000;
        let mode = if access == Access::ReadWrite { O_RDWR } else { 0 };
        loop {
            // SAFETY: `path` ends with a zero byte.
            let fd = unsafe {
                call(
                    nr::OPEN,
                    [path.as_ptr() as usize, mode | O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0],
                )
            };
            match fd {
                0.. => return Ok(Self(fd as i32)),
                error if error == -errno::EINTR => {}
                error => return Err(-error),
            }
        }
    }

    /// The descriptor's number.
    pub fn fd(&self) -> i32 {
        self.0
    }

    /// A call that fills a buffer and says with how many bytes.
    fn fill(&self, number: usize, buffer: &mut [u8]) -> Result<usize, isize> {
        let arguments = [
            self.0 as usize,
            buffer.as_mut_ptr() as usize,
            buffer.len(),
            0,
            0,
            0,
        ];
        // SAFETY: `buffer` is writable for its length.
        let count = unsafe { call(number, arguments) };
        if count < 0 {
            Err(-count)
        } else {
            Ok(count as usize)
        }
    }

    /// Reads up to `buffer.len()` bytes; 0 at the end.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, isize> {
        self.fill(nr::READ, buffer)
    }

    /// Reads the file's beginning, whatever was read before.
    pub fn read_at_start(&self, buffer: &mut [u8]) -> Result<usize, isize> {
        self.fill(nr::PREAD64, buffer)
    }

    /// Reads directory entries (`struct linux_dirent64`); 0 at the end.
    pub fn read_directory(&self, buffer: &mut [u8]) -> Result<usize, isize> {
        self.fill(nr::GETDENTS64, buffer)
    }

    /// Whether the file system has room for these bytes of the file. What it has is the file's from then on; where it
    /// cannot say, there is room: touching a mapping of what there is none for kills the process (SIGBUS).
    pub fn has_room(&self, offset: usize, length: usize) -> bool {
        loop {
            // SAFETY: mode 0 changes no byte of the file.
            match unsafe { call(nr::FALLOCATE, [self.0 as usize, 0, offset, length, 0, 0]) } {
                error if error == -errno::EINTR => {}
                result => return result != -errno::ENOSPC,
            }
        }
    }

    /// Tries to get the write lock on one byte for this open file; `false` where another holds it.
    pub fn try_lock(&self, byte: u64) -> Result<bool, isize> {
        match self.record_lock(FlockCall::Set, FlockKind::Write, byte) {
            Ok(_) => Ok(true),
            Err(errno::EAGAIN | errno::EACCES) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a byte's lock back.
    pub fn unlock(&self, byte: u64) {
        // Cannot fail for a lock that is held; and the lock goes with the open file in any case.
        let _ = self.record_lock(FlockCall::Set, FlockKind::Unlock, byte);
    }

    /// Whether another open file holds the lock on a byte.
    pub fn is_locked(&self, byte: u64) -> Result<bool, isize> {
        self.record_lock(FlockCall::Get, FlockKind::Write, byte)
            .map(|kind| kind != FlockKind::Unlock as u16)
    }

    fn record_lock(&self, command: FlockCall, kind: FlockKind, byte: u64) -> Result<u16, isize> {
        // struct flock: type and whence (SEEK_SET) in the first word, then start, length, pid (zero for OFD locks).
        let mut flock: [u64; 4] = [kind as u64, byte, 1, 0];
        // SAFETY: `flock` has the size and layout of the kernel's `struct flock` on x86-64.
        let result = unsafe {
            in_kernel(
                nr::FCNTL,
                [
                    self.0 as usize,
                    command as usize,
                    (&raw mut flock) as usize,
                    0,
                    0,
                    0,
                ],
            )
        };
        let [first, ..] = flock;
        if result < 0 {
            Err(-result)
        } else {
            Ok(first as u16)
        }
    }
}

/// `F_OFD_GETLK`, `F_OFD_SETLK`. Source: Linux, `include/uapi/asm-generic/fcntl.h`.
enum FlockCall {
    Get = 36,
    Set = 37,
}

/// `F_WRLCK`, `F_UNLCK`.
enum FlockKind {
    Write = 1,
    Unlock = 2,
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: closing a descriptor that this value alone uses.
        unsafe { in_kernel(nr::CLOSE, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// What a mapping is to be.
#[derive(Clone, Copy)]
pub enum Mapping<'a> {
    /// Private zeroed memory.
    Anonymous,
    /// A file's beginning, shared, read-only.
    ReadOnly(&'a File),
    /// A file's beginning, shared and writable.
    Shared(&'a File),
}

/// What becomes of a mapping in a forked child.
#[derive(Clone, Copy)]
pub enum Inheritance {
    /// It is there (`MADV_NORMAL`).
    Same = 0,
    /// It is not there (`MADV_DONTFORK`).
    Absent = 10,
    /// It reads zero (`MADV_WIPEONFORK`).
    Zeroed = 18,
}

/// Maps `length` bytes.
pub fn map(what: Mapping<'_>, length: usize, inheritance: Inheritance) -> Result<*mut u8, isize> {
    // PROT_READ 1, PROT_WRITE 2; MAP_SHARED 1, MAP_PRIVATE 2, MAP_ANONYMOUS 0x20.
    let (protection, flags, fd) = match what {
        Mapping::Anonymous => (3, 0x22, usize::MAX),
        Mapping::ReadOnly(file) => (1, 1, file.0 as usize),
        Mapping::Shared(file) => (3, 1, file.0 as usize),
    };
    // SAFETY: a mapping where the kernel likes touches no existing one.
    let address = unsafe { call(nr::MMAP, [0, length, protection, flags, fd, 0]) };
    if (-4095..0).contains(&address) {
        return Err(-address);
    }
    let address = address as usize;
    // SAFETY: the mapping was just made and is this function's alone.
    let advised = unsafe { call(nr::MADVISE, [address, length, inheritance as usize, 0, 0, 0]) };
    if advised < 0 {
        // SAFETY: as above.
        unsafe { unmap(address as *mut u8, length) };
        return Err(-advised);
    }
    #[cfg(loom)]
    note(what, (address, length));
    Ok(address as *mut u8)
}

#[cfg(loom)]
fn note(what: Mapping<'_>, (address, length): (usize, usize)) {
    let file = match what {
        Mapping::Anonymous => None,
        Mapping::ReadOnly(file) | Mapping::Shared(file) => fstat(file.0).map(|stat| stat.identity.1),
    };
    modelled::map(modelled::Mapped {
        address,
        length,
        file,
    });
}

/// Makes a mapping larger; it may move.
///
/// # Safety
/// `address` is a mapping of `length` bytes that nothing else points into.
pub unsafe fn remap(address: *mut u8, length: usize, larger: usize) -> Result<*mut u8, isize> {
    const MREMAP_MAYMOVE: usize = 1;
    // SAFETY: the caller answers for the mapping.
    let moved = unsafe {
        call(
            nr::MREMAP,
            [address as usize, length, larger, MREMAP_MAYMOVE, 0, 0],
        )
    };
    if (-4095..0).contains(&moved) {
        Err(-moved)
    } else {
        Ok(moved as *mut u8)
    }
}

/// Unmaps.
///
/// # Safety
/// `address` is a mapping of `length` bytes that nothing points into any more.
pub unsafe fn unmap(address: *mut u8, length: usize) {
    // SAFETY: the caller answers for the mapping.
    unsafe { in_kernel(nr::MUNMAP, [address as usize, length, 0, 0, 0, 0]) };
    #[cfg(loom)]
    modelled::unmap(address as usize);
}

/// Whether every page of a range is mapped (`msync` with `MS_ASYNC` looks, and does nothing else).
pub fn is_mapped(start: usize, length: usize) -> bool {
    const MS_ASYNC: usize = 1;
    // SAFETY: MS_ASYNC changes nothing.
    unsafe { call(nr::MSYNC, [start, length, MS_ASYNC, 0, 0, 0]) != -errno::ENOMEM }
}

/// Whether the kernel can read eight bytes at `address` on the program's behalf.
///
/// `rt_sigprocmask` copies the set before it looks at `how`; with a `how` that does not exist it changes nothing. It is
/// the cheapest such call, and no sandbox forbids it.
pub fn is_readable(address: usize) -> bool {
    const NO_SUCH_HOW: usize = 99;
    // SAFETY: the kernel reads `address` if it can, and changes nothing.
    address != 0 && unsafe { call(nr::RT_SIGPROCMASK, [NO_SUCH_HOW, address, 0, 8, 0, 0]) != -errno::EFAULT }
}

/// Whether the kernel can write eight bytes at `address` on the program's behalf. **It does so** (the signal mask).
///
/// # Safety
/// The eight bytes may be overwritten.
pub unsafe fn make_writable_certain(address: usize) -> bool {
    // SAFETY: with a null set `rt_sigprocmask` only writes the mask; the caller gives the bytes away.
    address != 0 && unsafe { call(nr::RT_SIGPROCMASK, [0, 0, address, 8, 0, 0]) == 0 }
}

#[cfg(loom)]
pub use modelled::{futex_wait, futex_wake};

/// Waits until `word` is no longer `value`, or a moment for no reason at all.
#[cfg(not(loom))]
pub fn futex_wait(word: &AtomicU32, value: u32) {
    const FUTEX_WAIT_PRIVATE: usize = 128;
    // SAFETY: `word` is a valid futex; no time-out is given.
    unsafe {
        call(
            nr::FUTEX,
            [
                word.as_ptr() as usize,
                FUTEX_WAIT_PRIVATE,
                value as usize,
                0,
                0,
                0,
            ],
        )
    };
}

/// Waits until someone wakes the waiters on a word of a shared mapping, which may be read-only, if it is `value` still;
/// at most so many seconds.
pub fn futex_wait_shared(word: *const u32, value: u32, seconds: u64) {
    const FUTEX_WAIT: usize = 0;
    let time: [u64; 2] = [seconds, 0];
    // SAFETY: the kernel reads the word if it can; `time` is a `struct timespec`.
    unsafe {
        call(
            nr::FUTEX,
            [
                word as usize,
                FUTEX_WAIT,
                value as usize,
                (&raw const time) as usize,
                0,
                0,
            ],
        )
    };
}

/// Wakes one waiter on `word`.
#[cfg(not(loom))]
pub fn futex_wake(word: &AtomicU32) {
    const FUTEX_WAKE_PRIVATE: usize = 129;
    // SAFETY: `word` is a valid futex.
    unsafe {
        call(
            nr::FUTEX,
            [word.as_ptr() as usize, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0],
        )
    };
}

/// Sleeps.
pub fn sleep_microseconds(microseconds: u64) {
    #[cfg(loom)]
    modelled::yield_now();
    let time: [u64; 2] = [0, microseconds.saturating_mul(1000).min(999_999_999)];
    // SAFETY: `time` is a `struct timespec`; no remainder is asked for.
    unsafe { call(nr::NANOSLEEP, [(&raw const time) as usize, 0, 0, 0, 0, 0]) };
}

/// The process's id in its own pid namespace.
pub fn getpid() -> u32 {
    // SAFETY: takes nothing, changes nothing.
    unsafe { call(nr::GETPID, [0; 6]) as u32 }
}

/// Writes to standard error, as far as it can.
pub fn write_stderr(bytes: &[u8]) {
    // SAFETY: `bytes` is readable for its length.
    unsafe { call(nr::WRITE, [2, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) };
}

/// An ioctl with one of the kernel's structures as its argument.
pub fn ioctl_with<T: Plain>(fd: i32, request: u32, argument: &mut T) -> isize {
    ioctl(fd, request, (&raw mut *argument) as usize)
}
