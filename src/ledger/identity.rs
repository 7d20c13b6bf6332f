//! Which process is alive: `/proc/<pid>/stat` → [`ProcessIdentity`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use crate::ledger::record::ProcessIdentity;
use crate::sys;

impl ProcessIdentity {
    /// The process that has this pid now; none if there is none (or only a zombie, which holds nothing any more).
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        // Longer than the file ever is: 52 numbers and a name of at most 64 bytes. One read gets all of it.
        let mut buffer = [0; 2048];
        let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer));
        let stat = match read {
            Ok(count) => String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()),
            // The kernel says ESRCH where the process goes away between open and read.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        parse(&stat)
            .map(|(state, start_time)| (!matches!(state, "Z" | "X")).then_some(Self { pid, start_time }))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: {stat:?}")))
    }

    /// The process that has this pid now, if it is this user's: it runs as him, or in a user namespace that he made, as a
    /// container's processes with subordinate ids do.
    pub fn of_user(pid: i32, user: u32) -> io::Result<Option<Self>> {
        let Some(process) = Self::of(pid)? else {
            return Ok(None);
        };
        let runs_as = std::fs::metadata(format!("/proc/{pid}"))?.uid();
        let is_his = runs_as == user || (user != 0 && sys::namespace_owner(pid)? == user);
        // Asked of the pid, which may be another process's by now.
        Ok((is_his && process.is_alive()).then_some(process))
    }

    /// Whether this very process still runs. What cannot be found out counts as alive: a slice is rather kept too
    /// long than given twice.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).map_or(true, |now| now == Some(*self))
    }
}

/// State and start time: the third and the 22nd field. The second, the program's name, may hold anything, even
/// blanks and parentheses, but the last parenthesis is its end. Source: proc_pid_stat(5).
fn parse(stat: &str) -> Option<(&str, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_namesake_is_not() {
        let pid = std::process::id() as i32;
        let me = ProcessIdentity::of(pid).unwrap().unwrap();
        assert!(me.is_alive());
        let earlier = ProcessIdentity {
            start_time: me.start_time - 1,
            ..me
        };
        assert!(!earlier.is_alive());
        assert_eq!(ProcessIdentity::of(i32::MAX).unwrap(), None);
    }

    #[test]
    fn a_process_is_of_the_user_whom_it_runs_as() {
        let pid = std::process::id() as i32;
        let me = nix::unistd::geteuid().as_raw();
        assert!(ProcessIdentity::of_user(pid, me).unwrap().is_some());
        assert!(ProcessIdentity::of_user(pid, me + 1).unwrap().is_none());
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        while ProcessIdentity::of(pid).unwrap().is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn names_may_hold_anything() {
        let stat =
            "7 (a) S (b) R 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1000 1 18446744073709551615";
        assert_eq!(parse(stat), Some(("R", 4711)));
    }
}
