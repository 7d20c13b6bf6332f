//! The listener's ioctls, and descriptors of processes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// `SECCOMP_IOCTL_NOTIF_*` of `<linux/seccomp.h>`: type '!', numbers 0 to 4.
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: hand the processor over to the other side (Linux 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// `struct seccomp_notif` as it lies in memory: id, pid, flags, then `struct seccomp_data`.
pub type RawCall = libc::seccomp_notif;
/// `struct seccomp_notif_resp` as it lies in memory.
pub type RawResponse = libc::seccomp_notif_resp;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The kernel's cookie of this call.
    pub id: u64,
    /// The calling thread, in this process's pid namespace.
    pub tid: i32,
    /// Number of the system call.
    pub nr: i64,
    /// `AUDIT_ARCH_*` of the call.
    pub arch: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel goes on with the call.
    Continue,
    /// The call returns this value.
    Value(i64),
    /// The call fails with this errno.
    Error(i32),
}

/// Asks the kernel to hand the processor over when a call arrives or is answered; older kernels do without.
pub fn wake_synchronously(listener: &OwnedFd) {
    // SAFETY: the call takes its flags by value.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
}

/// Takes the next waiting call.
pub fn receive(listener: &OwnedFd) -> io::Result<Call> {
    // SAFETY: zeroes are a valid value; the kernel demands them.
    let mut notif: RawCall = unsafe { std::mem::zeroed() };
    // SAFETY: `notif` is of the type that the request names.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, ptr::from_mut(&mut notif)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Call {
        id: notif.id,
        tid: notif.pid as i32,
        nr: i64::from(notif.data.nr),
        arch: notif.data.arch,
        args: notif.data.args,
    })
}

/// Answers a call. An error says that the caller is gone.
pub fn answer(listener: &OwnedFd, id: u64, answer: Answer) -> io::Result<()> {
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Value(value) => (value, 0, 0),
        Answer::Error(errno) => (0, -errno, 0),
    };
    let mut response = RawResponse {
        id,
        val,
        error,
        flags,
    };
    // SAFETY: `response` is of the type that the request names.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, ptr::from_mut(&mut response)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Whether a call still waits: until it does not, the caller's thread id is nobody else's.
pub fn is_waiting(listener: &OwnedFd, id: u64) -> bool {
    // SAFETY: the kernel reads the eight bytes of `id`.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ID_VALID, ptr::from_ref(&id)) == 0 }
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes values only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Kills the process that a [`pidfd`] is of.
pub fn kill(process: impl AsFd) -> io::Result<()> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes values, and no information about the signal.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_fd().as_raw_fd(),
            libc::SIGKILL,
            no_info,
            0,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes ownership of a descriptor that was received from a socket.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made the descriptor for the receiver, who passes it on once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_killed_process_was_the_one_that_was_meant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = pidfd(child.id() as i32).unwrap();
        kill(&process).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(kill(&process).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
