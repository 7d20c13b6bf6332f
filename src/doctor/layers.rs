//! Which layers hold a slice here, and what they need.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use super::kernel::Kernel;
use super::{Check, State};
use crate::broker::{Ask, client};
use crate::enforcement::{COOPERATIVE, DEVICES, DMEM, GUARDED};
use crate::host::{Host, HostError};
use crate::ledger::store::LedgerError;

const GROUP: &str = "layers";
/// Of a slice whose record this version does not understand: nothing can be placed beside it.
const SPOILED: &str = "stop the container that has it, then delete the slice";

/// What was read.
#[derive(Debug)]
pub struct Layers {
    /// The shim, or why there is none.
    pub shim: Result<PathBuf, HostError>,
    /// Whether the ledger can be written; or why not.
    pub ledger: Result<PathBuf, String>,
    /// Whether the broker places slices for this user, who may not write the ledger; or why not. None where he may.
    pub broker: Option<Result<(), String>>,
    /// How many slices there are, none where that is not to be seen; or which of them is not understood.
    pub slices: Result<Option<usize>, String>,
    /// Whether the agent answers.
    pub agent: bool,
    /// Whether the kernel can limit memory of GPUs.
    pub dmem: bool,
    /// Whether filters can ask another process.
    pub user_notification: bool,
    /// Whether containers start that nothing limits.
    pub allow_uncovered: bool,
}

impl Layers {
    /// Reads it.
    pub fn read(host: &Host, kernel: &Kernel) -> Self {
        // It is made on first use: then the directory above it counts.
        let existing = host
            .state
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(&host.state);
        let ledger = match access(existing, AccessFlags::W_OK) {
            Ok(()) if existing.is_dir() => Ok(host.state.clone()),
            Ok(()) => Err(format!("{} is no directory", existing.display())),
            Err(error) => Err(format!("{}: {error}", existing.display())),
        };
        let greet = || client::ask(host, &Ask::Greet).map(drop);
        Self {
            shim: host.shim(),
            broker: ledger
                .is_err()
                .then(|| greet().map_err(|error| error.to_string())),
            ledger,
            slices: match host.ledger().records() {
                Ok(records) => Ok(Some(records.len())),
                Err(error @ LedgerError::Record { .. }) => Err(error.to_string()),
                Err(_) => Ok(None),
            },
            agent: UnixStream::connect(host.guard_socket()).is_ok(),
            dmem: !kernel.regions.is_empty(),
            user_notification: kernel.user_notification,
            allow_uncovered: host.config.allow_uncovered_images,
        }
    }

    /// All checks.
    pub fn checks(&self) -> Vec<Check> {
        vec![
            Check::good(
                GROUP,
                DEVICES,
                "nodes and device cgroup: a container reaches no GPU that it was not given",
            ),
            self.ledger(),
            self.slices(),
            self.cooperative(),
            self.dmem(),
            self.agent(),
            self.guarded(),
            self.uncovered(),
        ]
    }

    fn ledger(&self) -> Check {
        let check = |found: String| Check::good(GROUP, "ledger", found);
        match (&self.ledger, &self.broker) {
            (Ok(path), _) => check(path.display().to_string()),
            (Err(_), Some(Ok(()))) => {
                check("root's: the broker of sdg-agent places slices for this user".to_owned())
            }
            (Err(error), Some(Err(broker))) => check(format!("cannot be written: {error}"))
                .with(State::Broken, format!("run as root; for other users: {broker}")),
            (Err(error), None) => {
                check(format!("cannot be written: {error}")).with(State::Broken, "run as root")
            }
        }
    }

    fn slices(&self) -> Check {
        let check = |found: String| Check::good(GROUP, "slices", found);
        match &self.slices {
            Ok(Some(count)) => check(format!("{count} there")),
            Ok(None) => check("root's to see".to_owned()),
            Err(error) => check(error.clone()).with(State::Broken, SPOILED),
        }
    }

    fn cooperative(&self) -> Check {
        let check = |found: String| Check::good(GROUP, COOPERATIVE, found);
        match &self.shim {
            Ok(path) => check(format!("by {}", path.display())),
            Err(HostError::UnfitShim { path, reason }) => {
                check(format!("{}: {reason}", path.display())).with(State::Broken, reason.mend(path))
            }
            Err(error) => check(error.to_string()).with(
                State::Broken,
                "install sdg as a whole: a package, or make install",
            ),
        }
    }

    fn dmem(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, DMEM, found);
        match self.dmem {
            true => check("the kernel limits memory as well"),
            false => check("no limit by the kernel").with(State::Absent, "see kernel, dmem"),
        }
    }

    fn agent(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, "agent", found);
        match self.agent {
            true => check("answers"),
            false => check("does not answer: no guarded slices, no watchdog")
                .with(State::Absent, "systemctl enable --now sdg-agent"),
        }
    }

    fn guarded(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, GUARDED, found);
        match (self.agent, self.user_notification) {
            (true, true) => check("for slices that ask for it"),
            (false, true) => check("needs the agent").with(State::Absent, "systemctl enable --now sdg-agent"),
            (_, false) => check("needs the kernel's seccomp").with(State::Absent, "see kernel, seccomp"),
        }
    }

    fn uncovered(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, "other images", found);
        match self.allow_uncovered {
            false => check("a container that no layer limits is refused"),
            true => check("a container that no layer limits starts all the same").with(
                State::Absent,
                "allow_uncovered_images = false in the configuration",
            ),
        }
    }
}
