//! The watchdog: compares the kernel's figures with each slice, and stops who has more.
//!
//! ```text
//! figures, records, cgroups → slices with their processes → offenders ─ first seen ──────→ warned, counted
//!                                                                     └ still, after grace → killed
//! ```

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::thread;
use std::time::{Duration, Instant};

use sdg::config::Watchdog;
use sdg::host::Host;
use sdg::ledger::record::ProcessIdentity;

use self::look::{Seen, look};
use self::verdict::{Offence, offenders};
use crate::events;
use crate::figures::Figures;
use crate::parts::PartError;

pub mod look;
pub mod verdict;

/// Watches for ever.
pub fn run(host: &Host) -> Result<Infallible, PartError> {
    let figures = Figures::below(&host.sysroot);
    let interval = Duration::from_millis(host.config.watchdog_interval_ms);
    let mut suspects = Suspects {
        kills: host.config.watchdog == Watchdog::Kill,
        grace: Duration::from_millis(host.config.watchdog_grace_ms),
        ..Suspects::default()
    };
    loop {
        match look(host, &figures) {
            Ok(seen) => suspects.judge(&seen),
            Err(error) => tracing::warn!(%error, "watchdog: saw nothing"),
        }
        thread::sleep(interval);
    }
}

/// Slices with offenders, and since when. The time is the slice's: processes that take turns gain none.
#[derive(Default)]
struct Suspects {
    kills: bool,
    grace: Duration,
    since: HashMap<(String, Kind), Instant>,
    /// Offenders of the last look.
    before: HashSet<ProcessIdentity>,
}

/// Which time of grace an offence has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Memory(usize),
    Queues,
}

impl Suspects {
    fn judge(&mut self, seen: &[Seen]) {
        let mut since = HashMap::new();
        let mut offending = HashSet::new();
        for slice in seen {
            for (pid, offence) in offenders(&slice.limits, &slice.processes) {
                // One that has ended meanwhile has ended.
                let Ok(Some(process)) = ProcessIdentity::of(pid) else {
                    continue;
                };
                offending.insert(process);
                if self.is_passing(process, offence) {
                    continue;
                }
                let key = (slice.slice.clone(), kind_of(offence));
                let begin = self.since.get(&key).copied();
                let begin = begin.unwrap_or_else(|| warn(&slice.slice, pid, offence));
                since.insert(key, begin);
                if self.kills && begin.elapsed() >= self.grace {
                    kill(process, &slice.slice);
                }
            }
        }
        (self.since, self.before) = (since, offending);
    }

    /// A shim makes a queue and gives it its mask the moment after: one look may fall in between, two do not.
    fn is_passing(&self, process: ProcessIdentity, offence: Offence) -> bool {
        matches!(offence, Offence::Queues { .. }) && !self.before.contains(&process)
    }
}

fn kind_of(offence: Offence) -> Kind {
    match offence {
        Offence::Memory { gpu, .. } => Kind::Memory(gpu),
        Offence::Queues { .. } => Kind::Queues,
    }
}

fn warn(slice: &str, pid: i32, offence: Offence) -> Instant {
    events::OFFENCES.count();
    match offence {
        Offence::Memory { gpu, used, limit } => {
            tracing::warn!(
                slice,
                pid,
                gpu,
                used,
                limit,
                "watchdog: more memory than the slice's limit"
            );
        }
        Offence::Queues { unmasked } => {
            tracing::warn!(slice, pid, unmasked, "watchdog: queues without the slice's mask");
        }
    }
    Instant::now()
}

/// Kills a process, and no other that has its pid by now.
fn kill(process: ProcessIdentity, slice: &str) {
    let pid = process.pid;
    let killed = sdg_notify::pidfd(pid).and_then(|pidfd| {
        if process.is_alive() {
            sdg_notify::kill(&pidfd)
        } else {
            Ok(())
        }
    });
    match killed {
        Ok(()) => {
            events::KILLS.count();
            tracing::warn!(slice, pid, "watchdog: killed");
        }
        Err(error) => tracing::error!(slice, pid, %error, "watchdog: not killed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::verdict::{GpuLimit, Process};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn seen(child: &Child, vram: u64, unmasked_queues: u32) -> [Seen; 1] {
        [Seen {
            slice: "0123456789ab".to_owned(),
            limits: vec![GpuLimit {
                memory: 10,
                is_masked: true,
            }],
            processes: vec![Process {
                pid: child.id() as i32,
                vram: vec![vram],
                admitted: vec![0],
                unmasked_queues,
            }],
        }]
    }

    fn suspects(kills: bool, grace: Duration) -> Suspects {
        Suspects {
            kills,
            grace,
            ..Suspects::default()
        }
    }

    fn is_alive(child: &mut Child) -> bool {
        child.try_wait().unwrap().is_none()
    }

    fn is_killed(child: &mut Child) -> bool {
        child.wait().unwrap().signal() == Some(libc::SIGKILL)
    }

    #[test]
    fn an_offender_is_killed_after_the_grace_and_not_before() {
        let mut child = sleeper();
        let mut patient = suspects(true, Duration::from_secs(3600));
        patient.judge(&seen(&child, 11, 0));
        patient.judge(&seen(&child, 11, 0));
        assert!(is_alive(&mut child));
        suspects(true, Duration::ZERO).judge(&seen(&child, 11, 0));
        assert!(is_killed(&mut child));
    }

    #[test]
    fn a_queue_that_is_just_being_made_is_no_offence() {
        let mut child = sleeper();
        let mut strict = suspects(true, Duration::ZERO);
        strict.judge(&seen(&child, 1, 1));
        strict.judge(&seen(&child, 1, 0));
        strict.judge(&seen(&child, 1, 1));
        assert!(is_alive(&mut child));
        strict.judge(&seen(&child, 1, 1));
        assert!(is_killed(&mut child));
    }

    #[test]
    fn processes_that_take_turns_gain_no_time() {
        let (mut one, mut other) = (sleeper(), sleeper());
        let grace = Duration::from_millis(50);
        let mut strict = suspects(true, grace);
        strict.judge(&seen(&one, 11, 0));
        let begin = *strict.since.values().next().unwrap();
        strict.judge(&seen(&other, 11, 0));
        assert_eq!(strict.since.values().next(), Some(&begin));
        thread::sleep(grace);
        strict.judge(&seen(&other, 11, 0));
        assert!(is_killed(&mut other));
        strict.judge(&seen(&one, 10, 0));
        assert!(strict.since.is_empty(), "a slice within its limit begins anew");
        assert!(is_alive(&mut one));
        one.kill().unwrap();
        one.wait().unwrap();
    }

    #[test]
    fn with_log_nobody_is_killed() {
        let mut child = sleeper();
        let mut suspects = suspects(false, Duration::ZERO);
        suspects.judge(&seen(&child, 11, 0));
        suspects.judge(&seen(&child, 11, 0));
        assert_eq!(suspects.since.len(), 1);
        assert!(is_alive(&mut child));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
