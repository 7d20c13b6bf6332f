//! The only unsafe code of the main crate: shared mappings of the pages, read and written by atomic words, with a call to
//! those who sleep on one; random bytes from the kernel; descriptors of another process; who is at the other end of a socket,
//! and what one user alone may pass.
//!
//! ```text
//! file of a page → Mapping → word at an offset → AtomicU32 or AtomicU64
//! ```

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::unistd::Pid;

/// `NS_GET_OWNER_UID` of `<linux/nsfs.h>`: type 0xb7, number 4.
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// What a [`Mapping`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// A file's first bytes, shared with whoever else has mapped them.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    access: Access,
}

// SAFETY: the range is the mapping's own until it is dropped, and its words are only touched by atomic operations.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of a file. The file must be at least that long: a shorter one is refused, since
    /// touching a page beyond its end would kill the process (SIGBUS).
    pub fn new(file: &File, length: usize, access: Access) -> io::Result<Self> {
        if file.metadata()?.len() < length as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("shorter than the {length} bytes of its layout"),
            ));
        }
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice; it aliases no memory of this program.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self {
            start,
            length,
            access,
        })
    }

    /// The 32-bit word at an offset in bytes.
    pub fn word32(&self, offset: usize) -> io::Result<u32> {
        Ok(self.atomic32(offset)?.load(SeqCst))
    }

    /// The 64-bit word at an offset in bytes.
    pub fn word64(&self, offset: usize) -> io::Result<u64> {
        Ok(self.atomic64(offset)?.load(SeqCst))
    }

    /// Stores a 32-bit word at an offset in bytes.
    pub fn store32(&self, offset: usize, value: u32) -> io::Result<()> {
        self.writable32(offset)?.store(value, SeqCst);
        Ok(())
    }

    /// Stores a 64-bit word at an offset in bytes.
    pub fn store64(&self, offset: usize, value: u64) -> io::Result<()> {
        self.check_writable()?;
        self.atomic64(offset)?.store(value, SeqCst);
        Ok(())
    }

    /// Wakes every thread, of whatever process, that sleeps on the 32-bit word at an offset (futex(2), by the file's
    /// identity: mappings of its own count, read-only ones too).
    pub fn wake(&self, offset: usize) -> io::Result<()> {
        let word = self.address(offset, size_of::<u32>())?;
        // SAFETY: the kernel looks up which file and page the address is of, and reads nothing.
        let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
        if woken < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// The 32-bit word at an offset in bytes, to store to.
    pub fn writable32(&self, offset: usize) -> io::Result<&AtomicU32> {
        self.check_writable()?;
        self.atomic32(offset)
    }

    /// Adds to a 64-bit word at an offset in bytes.
    pub fn add64(&self, offset: usize, value: u64) -> io::Result<()> {
        self.check_writable()?;
        self.atomic64(offset)?.fetch_add(value, SeqCst);
        Ok(())
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "mapped for reading only",
            )),
        }
    }

    fn atomic32(&self, offset: usize) -> io::Result<&AtomicU32> {
        let address = self.address(offset, size_of::<u32>())?;
        // SAFETY: `address` is inside the mapping, aligned for the type, and lives as long as `self`; every byte
        // pattern is a value, and all other accesses of these pages are atomic too.
        Ok(unsafe { AtomicU32::from_ptr(address.cast()) })
    }

    fn atomic64(&self, offset: usize) -> io::Result<&AtomicU64> {
        let address = self.address(offset, size_of::<u64>())?;
        // SAFETY: as in `atomic32`.
        Ok(unsafe { AtomicU64::from_ptr(address.cast()) })
    }

    fn address(&self, offset: usize, size: usize) -> io::Result<*mut u8> {
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.length);
        if !inside || !offset.is_multiple_of(size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no word at byte {offset} of a mapping of {} bytes", self.length),
            ));
        }
        // SAFETY: the check above keeps the result inside the mapping.
        Ok(unsafe { self.start.as_ptr().add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; no reference to it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Random bytes from the kernel (getrandom(2)).
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most N bytes into a buffer of N bytes.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    match usize::try_from(count) {
        Ok(count) if count == N => Ok(bytes),
        Ok(_) => Err(io::Error::other("the kernel gave too few random bytes")),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// A descriptor of another process, as dup(2) makes one of one's own (pidfd_getfd(2), Linux 5.6). Needs the right to
/// trace that process.
pub fn duplicate_of(pid: Pid, descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: both calls take and return integers only.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })
}

/// The process that connected a Unix socket or made the pair that it is one of (SO_PEERCRED).
pub fn peer_process(socket: &impl AsRawFd) -> io::Result<Pid> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into a structure of that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut size,
        )
    };
    match result {
        // Another pid namespace's process has no number here.
        0 if peer.pid > 0 => Ok(Pid::from_raw(peer.pid)),
        0 => Err(io::ErrorKind::NotFound.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Supplementary groups of whoever connected a Unix socket, as they were then (SO_PEERGROUPS, Linux 4.13): real ones, also
/// where the peer's user namespace does not know them.
pub fn peer_groups(socket: &impl AsRawFd) -> io::Result<Vec<u32>> {
    // Source: linux/limits.h, `NGROUPS_MAX`.
    let mut groups = vec![0u32; 65536];
    let mut size = (groups.len() * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into a buffer of that size, and says how many in `size`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &mut size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(size as usize / size_of::<u32>());
    Ok(groups)
}

/// The user who made a process's user namespace (NS_GET_OWNER_UID, Linux 4.11).
pub fn namespace_owner(pid: i32) -> io::Result<u32> {
    let namespace = File::open(format!("/proc/{pid}/ns/user"))?;
    let mut owner: libc::uid_t = 0;
    // SAFETY: the kernel writes a `uid_t` there.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID, ptr::from_mut(&mut owner)) };
    match result {
        0.. => Ok(owner),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets one user pass a directory of this process's, beside its owner, and nobody else (an access control list).
pub fn let_pass_only(directory: &Path, user: u32) -> io::Result<()> {
    // Source: linux/posix_acl_xattr.h and posix_acl.h: version 2, then tag, permissions and id of each entry.
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (0x01u16, 7u16, NOBODY),
        (0x02, 1, user),
        (0x04, 0, NOBODY),
        (0x10, 1, NOBODY),
        (0x20, 0, NOBODY),
    ];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let name = c"system.posix_acl_access";
    // SAFETY: two strings that end in zero, and a buffer with its length.
    let result = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), list.as_ptr().cast(), list.len(), 0) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptor that a system call returned, or its error.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        Ok(descriptor) if descriptor >= 0 => {
            // SAFETY: the kernel has just made this descriptor for us (it is close-on-exec); nobody else owns it.
            Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shared_between_mappings_and_bounded() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64).unwrap();
        let writer = Mapping::new(&file, 64, Access::ReadWrite).unwrap();
        let reader = Mapping::new(&file, 64, Access::Read).unwrap();
        writer.store32(60, 7).unwrap();
        assert_eq!(reader.word32(60).unwrap(), 7);
        assert_eq!(reader.word64(56).unwrap(), 7 << 32);
        assert!(reader.word32(64).is_err(), "beyond the end");
        assert!(reader.word32(2).is_err(), "not aligned");
        assert!(reader.store32(0, 1).is_err(), "reading only");
    }

    #[test]
    fn a_short_file_is_refused_before_it_can_kill() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(63).unwrap();
        assert!(Mapping::new(&file, 64, Access::Read).is_err());
    }

    #[test]
    fn a_duplicate_shares_the_position() {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        let mut duplicate = File::from(duplicate_of(Pid::this(), file.as_raw_fd()).unwrap());
        duplicate.write_all(b"line").unwrap();
        assert_eq!(file.stream_position().unwrap(), 4);
        assert!(duplicate_of(Pid::this(), 1 << 20).is_err());
    }

    #[test]
    fn a_pair_is_of_the_process_that_made_it() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(peer_process(&one).unwrap(), Pid::this());
        assert!(peer_process(&File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn a_peer_has_the_groups_of_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut groups = peer_groups(&one).unwrap();
        groups.sort_unstable();
        let mut own: Vec<u32> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(u32::from)
            .collect();
        own.sort_unstable();
        assert_eq!(groups, own);
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }
}
