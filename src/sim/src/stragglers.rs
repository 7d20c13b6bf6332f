//! What a command leaves running when it ends: without the supervisor these processes could not open a file any more.
//! They get a moment to end by themselves (helpers of Python's multiprocessing do) and are killed then.
//!
//! The supervisor is their reaper, so that they become its children whoever started them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::supervisor::Supervisor;
use crate::tracee::status_field;

/// The moment.
const GRACE: Duration = Duration::from_secs(1);
/// How long the killed may take.
const BURIAL: Duration = Duration::from_secs(5);

/// Serves the stragglers for their moment, then ends them. `command` is the ended command's pidfd, which `spare`s the
/// janitor.
pub fn end(supervisor: &Supervisor, command: &OwnedFd, spare: Option<u32>) -> io::Result<()> {
    supervisor.unwatch(command);
    let limit = Instant::now() + GRACE;
    while supervisor.serve(Some(limit))?.is_some() {}
    let limit = Instant::now() + BURIAL;
    loop {
        let left = children(std::process::id(), spare);
        if left.is_empty() || Instant::now() > limit {
            return Ok(());
        }
        for pid in left {
            let pid = Pid::from_raw(pid);
            let _gone = kill(pid, Signal::SIGKILL);
            while let Ok(WaitStatus::StillAlive) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                supervisor.serve(Some(Instant::now() + Duration::from_millis(5)))?;
                if Instant::now() > limit {
                    break;
                }
            }
        }
    }
}

/// The children of a process, but for one.
fn children(parent: u32, spare: Option<u32>) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_child = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status_field(&status, "PPid:") == Some(parent.to_string().as_str())
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| spare.is_none_or(|spare| *pid as u32 != spare) && is_child(pid))
        .collect()
}
