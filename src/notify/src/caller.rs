//! The caller of a system call: its memory, its descriptors, its process.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// Reads a process's memory.
pub fn read_memory(pid: i32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let length = buffer.len();
    let remote = [RemoteIoVec {
        base: address as usize,
        len: length,
    }];
    match process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(buffer)], &remote)? {
        read if read == length => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Writes a process's memory.
pub fn write_memory(pid: i32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let remote = [RemoteIoVec {
        base: address as usize,
        len: bytes.len(),
    }];
    match process_vm_writev(Pid::from_raw(pid), &[IoSlice::new(bytes)], &remote)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// The process that thread `tid` belongs to.
pub fn process_of(tid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status_field(&status, "Tgid:")?.parse().ok()
}

/// Whether thread `tid` belongs to process `pid`.
pub fn is_thread_of(tid: i32, pid: i32) -> bool {
    tid == pid || Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

/// The value of a line of `/proc/PID/status`.
pub fn status_field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .map(str::trim)
}

/// The device number of the character device behind descriptor `fd` of thread `tid`; none where it is another file. An
/// error: there is no such descriptor, or no such thread.
pub fn device_of(tid: i32, fd: i32) -> io::Result<Option<u64>> {
    // By a descriptor of our own: opened for its path only, the device's driver does not hear of it.
    let file = fs::File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(format!("/proc/{tid}/fd/{fd}"))?;
    let metadata = file.metadata()?;
    let is_device = metadata.mode() & libc::S_IFMT == libc::S_IFCHR;
    Ok(is_device.then(|| metadata.rdev()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn devices_are_told_from_files_and_from_nothing() {
        let me = std::process::id() as i32;
        let null = fs::File::open("/dev/null").unwrap();
        assert_eq!(
            device_of(me, null.as_raw_fd()).unwrap(),
            Some(libc::makedev(1, 3))
        );
        let file = tempfile::tempfile().unwrap();
        assert_eq!(device_of(me, file.as_raw_fd()).unwrap(), None);
        let error = device_of(me, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_reads_its_own_memory_and_no_hole() {
        let me = std::process::id() as i32;
        let (source, mut copy) = ([1u8, 2, 3], [0; 3]);
        read_memory(me, source.as_ptr() as u64, &mut copy).unwrap();
        assert_eq!(copy, source);
        assert_eq!(read_memory(me, 0, &mut copy), Err(Errno::EFAULT));
        assert_eq!(process_of(me), Some(me));
        assert!(is_thread_of(nix::unistd::gettid().as_raw(), me));
    }
}
