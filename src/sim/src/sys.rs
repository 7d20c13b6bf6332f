//! The system calls that nix has no safe form of, and the mapped doorbell pages: all the unsafe code of the simulator.
//! Calls that wait for an answer are the crate `sdg-notify`'s.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{ForkResult, Pid};
pub use sdg_notify::{Answer, Call, answer, is_waiting, pidfd, receive, wake_synchronously};

use crate::filter::Instruction;

/// `SECCOMP_IOCTL_NOTIF_ADDFD` of `<linux/seccomp.h>`: type '!', number 3.
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;

/// Installs the filter for the calling thread and what it starts. Returns the listener.
///
/// Without `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: a signal, a freezer and a debugger interrupt a call that waits for its
/// answer, as they do with a wait in the driver. What becomes of such a call: [`crate::supervisor`].
pub fn install_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect();
    let fprog = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `fprog` points to `len` instructions, which the kernel copies.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            ptr::from_ref(&fprog),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: with NEW_LISTENER the call returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Gives the caller a descriptor of `file`; with `answers` its number is the call's result. Returns the number.
pub fn give_file(listener: &OwnedFd, id: u64, file: &File, options: GiveOptions) -> io::Result<i32> {
    let mut addfd = libc::seccomp_notif_addfd {
        id,
        flags: if options.answers {
            libc::SECCOMP_ADDFD_FLAG_SEND as u32
        } else {
            0
        },
        srcfd: file.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if options.close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    // SAFETY: `addfd` is of the type that the request names.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD, ptr::from_mut(&mut addfd)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Options of [`give_file`].
#[derive(Clone, Copy, Debug)]
pub struct GiveOptions {
    /// The descriptor is the call's result; without it the call still waits for its answer.
    pub answers: bool,
    /// The descriptor is closed by exec.
    pub close_on_exec: bool,
}

/// Forks. Returns the child's id; none in the child. For the time before this process has a second thread.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: with one thread the child has every lock in the state that it is in.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Takes ownership of a descriptor that was received from a socket.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made the descriptor for the receiver, who passes it on once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Whether descriptor `fd` of thread `tid` is of this open file; no where the kernel does not tell.
pub fn is_open_as(file: &File, (tid, fd): (i32, i32)) -> bool {
    /// `KCMP_FILE` of `<linux/kcmp.h>`.
    const KCMP_FILE: libc::c_int = 0;
    static SELF: LazyLock<u32> = LazyLock::new(std::process::id);
    // SAFETY: the call takes values only.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            *SELF,
            tid,
            KCMP_FILE,
            file.as_raw_fd() as libc::c_ulong,
            fd as libc::c_ulong,
        )
    };
    order == 0
}

/// A copy of the mount at `path` with what is mounted below it, attached nowhere yet.
pub fn clone_mount(path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    /// `OPEN_TREE_CLONE` of `<linux/mount.h>`.
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    let flags = OPEN_TREE_CLONE | libc::AT_RECURSIVE as u32 | libc::O_CLOEXEC as u32;
    // SAFETY: `path` is a string that lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a mount of [`clone_mount`] at `path`.
pub fn attach_mount(mount: &OwnedFd, path: &std::ffi::CStr) -> io::Result<()> {
    move_mount(mount, (libc::AT_FDCWD, path), MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a mount of [`clone_mount`] at the directory that `target` is open on.
pub fn attach_mount_at(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    move_mount(
        mount,
        (target.as_raw_fd(), c""),
        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// `MOVE_MOUNT_*` of `<linux/mount.h>`.
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

fn move_mount(
    mount: &OwnedFd,
    (directory, path): (RawFd, &std::ffi::CStr),
    flags: libc::c_uint,
) -> io::Result<()> {
    // SAFETY: both strings live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            directory,
            path.as_ptr(),
            flags,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes the mounts of [`clone_mount`] read-only and private, as a container's sysfs is: what is mounted over them there is not
/// seen where they were copied from.
pub fn make_read_only_and_private(mount: &OwnedFd) -> io::Result<()> {
    let flags =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attributes = libc::mount_attr {
        attr_set: flags,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the structure and its size belong together, and the string lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A character device as fstat shows it.
#[derive(Clone, Copy, Debug)]
pub struct DeviceNode {
    /// Device number.
    pub rdev: u64,
    /// Inode number.
    pub inode: u64,
    /// Permission bits.
    pub mode: u32,
}

impl DeviceNode {
    /// The bytes of `struct stat`.
    pub fn stat(&self) -> Vec<u8> {
        // SAFETY: the structure holds integers only, for which zero is a valid value.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        stat.st_dev = 5;
        stat.st_ino = self.inode;
        stat.st_nlink = 1;
        stat.st_mode = libc::S_IFCHR | self.mode;
        stat.st_rdev = self.rdev;
        stat.st_blksize = 4096;
        bytes_of(&stat)
    }

    /// The bytes of `struct statx`, basic fields.
    pub fn statx(&self) -> Vec<u8> {
        // SAFETY: the structure holds integers only, for which zero is a valid value.
        let mut statx: libc::statx = unsafe { std::mem::zeroed() };
        statx.stx_mask = libc::STATX_BASIC_STATS;
        statx.stx_blksize = 4096;
        statx.stx_nlink = 1;
        statx.stx_mode = (libc::S_IFCHR | self.mode) as u16;
        statx.stx_ino = self.inode;
        statx.stx_dev_minor = 5;
        statx.stx_rdev_major = libc::major(self.rdev);
        statx.stx_rdev_minor = libc::minor(self.rdev);
        bytes_of(&statx)
    }
}

/// The bytes of `struct statfs`, as sysfs fills it.
pub fn sysfs_status() -> Vec<u8> {
    // SAFETY: the structure holds integers only, for which zero is a valid value.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    status.f_type = libc::SYSFS_MAGIC;
    status.f_bsize = 4096;
    status.f_frsize = 4096;
    status.f_namelen = 255;
    bytes_of(&status)
}

/// The bytes of a structure of the kernel's that was made from zeroes.
fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    let start = ptr::from_ref(value).cast::<u8>();
    // SAFETY: the callers zero the whole structure, padding included, before they set fields.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
}

/// Pages of a file, mapped and shared: 64-bit words that another process writes at any time.
#[derive(Debug)]
pub struct SharedWords {
    start: *mut AtomicU64,
    words: usize,
}

// SAFETY: the words are only touched by atomic operations.
unsafe impl Send for SharedWords {}
// SAFETY: the words are only touched by atomic operations.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `bytes` bytes of `file` from `offset` on; both are multiples of a page.
    pub fn map(file: &File, offset: u64, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            words: bytes / 8,
        })
    }

    /// The word at `index`; 0 outside.
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Sets the word at `index`; nothing outside.
    pub fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Release);
        }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: `words` words are mapped, page-aligned, for as long as `self` lives.
        (index < self.words).then(|| unsafe { &*self.start.add(index) })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: `map` mapped this range, and no reference to it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.words * 8) };
    }
}
