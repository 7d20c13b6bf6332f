//! The ledger's lock: a flock(2) on one file, waited for with a time-out that says who holds it.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::files::FileError;

/// Shortest and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else kept it.
    #[error("{}: locked for more than {seconds} s by {holder} (lock_timeout in the config says how long to wait)", path.display())]
    TimedOut {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
        /// Pid and command line, as far as they are known.
        holder: String,
    },
}

/// Held until dropped, or until the process dies.
#[derive(Debug)]
pub struct LedgerLock {
    _file: Flock<File>,
}

impl LedgerLock {
    /// Waits for the lock.
    pub fn acquire(path: &Path, timeout: Duration) -> Result<Self, LockError> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(FileError::of("open", path))?;
        let start = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { _file: held }),
                Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
                Err((_, errno)) => return Err(FileError::of("flock", path)(errno).into()),
            };
            if start.elapsed() >= timeout {
                return Err(LockError::TimedOut {
                    path: path.to_owned(),
                    seconds: timeout.as_secs(),
                    holder: holder(&file).unwrap_or_else(|| "a process that cannot be named".to_owned()),
                });
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Who holds a flock on this file, from `/proc/locks`: lines of
/// `1: FLOCK  ADVISORY  WRITE 4711 00:1a:5678 0 EOF` (pid, then major:minor:inode).
fn holder(file: &File) -> Option<String> {
    let inode = file.metadata().ok()?.ino();
    let suffix = format!(":{inode}");
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, device_inode, ..] = fields.as_slice() else {
            return None;
        };
        device_inode.ends_with(&suffix).then_some(*pid)
    })?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(format!("process {pid} ({})", command.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_waits_and_learns_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = LedgerLock::acquire(&path, Duration::from_secs(1)).unwrap();
        let error = LedgerLock::acquire(&path, Duration::from_millis(2)).unwrap_err();
        let mine = format!("process {} (", std::process::id());
        assert!(error.to_string().contains(&mine), "{error}");
        drop(first);
        LedgerLock::acquire(&path, Duration::ZERO).unwrap();
    }
}
