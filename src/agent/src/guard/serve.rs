//! One container's guarded calls, until its last process is gone.
//!
//! ```text
//! call ─ descriptor is no GPU's ─────────────→ goes on
//!      └ what does it ask for? ─ nothing ────→ goes on
//!                              ├ fits ───────→ goes on
//!                              └ does not ───→ an error
//! ```
//! Whatever cannot be found out is an error too.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sdg::ledger::pages::PageError;
use sdg_notify::{Answer, Call, answer, caller, is_waiting, receive, wake_synchronously};

use super::account::{Account, Caller};
use super::asked::{Asked, Device, Reader};
use crate::events;

/// What tells the slice's devices from other files.
#[derive(Clone, Debug)]
pub struct Devices {
    /// Device number of the KFD.
    pub kfd: u64,
    /// Device numbers of the render nodes, in the slice's order of GPUs.
    pub render: Vec<u64>,
}

impl Devices {
    /// The device with such a number; none: no GPU.
    fn of(&self, number: u64) -> Option<Device> {
        if number == self.kfd {
            return Some(Device::Kfd);
        }
        match self.render.iter().position(|render| *render == number) {
            Some(gpu) => Some(Device::Render(gpu)),
            None => (libc::major(number) == sdg_abi::drm::MAJOR).then_some(Device::Foreign),
        }
    }
}

/// A container whose calls are answered.
#[derive(Debug)]
pub struct Guarded {
    /// Of the seccomp filter.
    pub listener: OwnedFd,
    /// For the log.
    pub container: String,
    /// The slice's devices.
    pub devices: Devices,
    /// The slice's account.
    pub account: Arc<Account>,
    /// What was refused is told no oftener than this allows.
    pub pace: Pace,
}

/// Lets through so much of what a container could flood the log with.
#[derive(Debug, Default)]
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    const INTERVAL: Duration = Duration::from_millis(200);

    fn allows(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= Self::INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Guarded {
    /// Answers until nobody is left who could ask.
    pub fn serve(&self) {
        wake_synchronously(&self.listener);
        loop {
            let mut ready = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    tracing::error!(container = self.container, %errno, "guard: the listener cannot be watched");
                    return;
                }
                Ok(_) => {}
            }
            let events = ready
                .first()
                .and_then(PollFd::revents)
                .unwrap_or(PollFlags::empty());
            if events.contains(PollFlags::POLLIN) {
                self.take_call();
            } else if !events.is_empty() {
                return;
            }
        }
    }

    fn take_call(&self) {
        // A caller that a signal has called away meanwhile is no error.
        let Ok(call) = receive(&self.listener) else {
            return;
        };
        let verdict = self.judge(&call).unwrap_or_else(|error| {
            tracing::warn!(container = self.container, tid = call.tid, %error, "guard: refused what cannot be looked at");
            Answer::Error(libc::EPERM)
        });
        if is_waiting(&self.listener, call.id) {
            let _gone = answer(&self.listener, call.id, verdict);
        }
    }

    fn judge(&self, call: &Call) -> Result<Answer, GuardError> {
        let (fd, request) = (call.args[0] as i32, call.args[1] as u32);
        let device = match caller::device_of(call.tid, fd) {
            Ok(number) => number.and_then(|number| self.devices.of(number)),
            // Were it let go on, another thread could put the device there first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Answer::Error(libc::EBADF)),
            Err(error) => return Err(error.into()),
        };
        let Some(device) = device else {
            return Ok(Answer::Continue);
        };
        let who = self.account.enter(call.tid)?;
        let memory = |address: u64, buffer: &mut [u8]| {
            caller::read_memory(call.tid, address, buffer).map_err(|errno| errno as i32)
        };
        let reader = Reader {
            gpu_ids: self.account.gpu_ids(),
            memory: &memory,
        };
        let asked = match reader.read(device, request, call.args[2]) {
            Ok(asked) => asked,
            Err(errno) => return Ok(self.refuse(who, request, (errno, "its arguments cannot be read"))),
        };
        let held = || gem_held(call.tid, fd);
        Ok(match self.admit(who, &asked, (device, &held))? {
            Ok(()) => {
                events::CALLS_ALLOWED.count();
                Answer::Continue
            }
            Err(refusal) => self.refuse(who, request, refusal),
        })
    }

    /// Whether what is asked for may be had; else the error number and the reason.
    fn admit(
        &self,
        who: Caller,
        asked: &Asked,
        (device, held): (Device, &dyn Fn() -> Option<u64>),
    ) -> Result<Result<(), (i32, &'static str)>, PageError> {
        let account = &self.account;
        let (fits, refusal) = match asked {
            Asked::Nothing => (true, (0, "")),
            Asked::Never { errno, why } => (false, (*errno, *why)),
            Asked::Queue => {
                account.expect_queue(who);
                (true, (0, ""))
            }
            Asked::Vram { gpu, bytes } if device == Device::Kfd => (
                account.reserve(who, *gpu, *bytes)?,
                (libc::ENOMEM, "beyond the slice's memory"),
            ),
            Asked::Vram { gpu, bytes } => (
                account.reserve_gem(who, (*gpu, *bytes), held())?,
                (libc::ENOMEM, "beyond the slice's memory"),
            ),
            Asked::Range { gpu, start, end } => (
                account.reserve_range(who, *gpu, (*start, *end))?,
                (libc::ENOMEM, "beyond the slice's memory"),
            ),
            Asked::Mask { queue, words } => (
                account.admit_mask(who, *queue, words)?,
                (libc::EPERM, "a mask beyond the slice's compute units"),
            ),
        };
        Ok(if fits { Ok(()) } else { Err(refusal) })
    }

    fn refuse(&self, who: Caller, request: u32, (errno, why): (i32, &'static str)) -> Answer {
        events::CALLS_REFUSED.count();
        if self.pace.allows() {
            let request = format_args!("{request:#010x}");
            tracing::info!(container = self.container, pid = who.pid, %request, errno, "guard: refused, {why}");
        }
        Answer::Error(errno)
    }
}

/// Why a call could not be looked at.
#[derive(Debug, thiserror::Error)]
enum GuardError {
    /// The caller's descriptor or process.
    #[error("the caller: {0}")]
    Caller(#[from] io::Error),
    /// The slice's pages.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Bytes of VRAM behind a render node's descriptor, where the kernel tells (Linux 6.0 and later).
/// Source: Linux, Documentation/gpu/drm-usage-stats.rst.
fn gem_held(tid: i32, fd: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).ok()?;
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("drm-memory-vram:"))?;
    let kibibytes: u64 = kibibytes.trim().strip_suffix("KiB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_at_once_is_told_once() {
        let pace = Pace::default();
        assert!(pace.allows());
        assert!(!pace.allows());
    }

    #[test]
    fn devices_are_known_by_their_numbers() {
        let devices = Devices {
            kfd: libc::makedev(511, 0),
            render: vec![libc::makedev(226, 128), libc::makedev(226, 136)],
        };
        assert_eq!(devices.of(libc::makedev(511, 0)), Some(Device::Kfd));
        assert_eq!(devices.of(libc::makedev(226, 136)), Some(Device::Render(1)));
        assert_eq!(devices.of(libc::makedev(226, 129)), Some(Device::Foreign));
        assert_eq!(devices.of(libc::makedev(1, 3)), None);
    }
}
