//! Calls of the kernel that a target needs.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Locks bytes of a file as a living process of a container does, for as long as the file is open.
pub fn lock(file: &File, start: u64, length: u64) {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: length as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open and the structure is there.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    assert_eq!(result, 0, "lock: {}", std::io::Error::last_os_error());
}

/// Where the kernel puts the next mapping of so many bytes, as long as nobody else maps.
pub fn next_mapping(length: usize) -> *mut libc::c_void {
    // SAFETY: a mapping of its own, which is gone again before anybody knows of it.
    unsafe {
        let address = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(
            address,
            libc::MAP_FAILED,
            "mmap: {}",
            std::io::Error::last_os_error()
        );
        libc::munmap(address, length);
        address
    }
}

/// Takes away a mapping that its owner keeps for the life of a process.
///
/// # Safety
/// `address` and `length` are those of a mapping that nobody uses any more.
pub unsafe fn unmap(address: *mut libc::c_void, length: usize) {
    // SAFETY: the caller's.
    let result = unsafe { libc::munmap(address, length) };
    assert_eq!(result, 0, "munmap: {}", std::io::Error::last_os_error());
}
