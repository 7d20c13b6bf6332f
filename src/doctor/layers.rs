//! Which layers hold a slice here, and what they need.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use super::kernel::Kernel;
use super::{Check, State};
use crate::agent_view::AgentView;
use crate::broker::client::BrokerError;
use crate::broker::{Ask, client};
use crate::config::Watchdog;
use crate::enforcement::{COOPERATIVE, DEVICES, DMEM, GUARDED};
use crate::host::{Host, HostError};
use crate::inventory::Detail;
use crate::ledger::store::LedgerError;

const GROUP: &str = "layers";
/// Of a slice whose record this version does not understand: nothing can be placed beside it.
const SPOILED: &str = "stop the container that has it, then delete the slice";

/// What starts the agent, which no installation does.
const START_AGENT: &str = "systemctl enable --now sdg-agent";

/// What a service's GPUs depend on beside the machine's.
const SHOW_AGENT: &str =
    "systemctl cat sdg-agent: as a service it needs DeviceAllow=char-drm rw to read their KFD topology";
/// Of what an ordinary user cannot know.
const ROOTS_TO_SEE: &str = "root's to see";

/// What can be said of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// It answers.
    Answers,
    /// It does not.
    Silent,
    /// Its socket is root's, and no broker of its has spoken: not for this user to say.
    Unseen,
}

impl Agent {
    /// From a connection to the guard's socket, which is root's, and from what the broker said, which is in the same process.
    pub fn of(guard: &io::Result<()>, broker: Option<&Result<(), BrokerError>>) -> Self {
        let broker_spoke = match broker {
            Some(Ok(())) => true,
            Some(Err(error)) => error.is_from_the_broker(),
            None => false,
        };
        match guard {
            _ if broker_spoke => Self::Answers,
            Ok(()) => Self::Answers,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Self::Unseen,
            Err(_) => Self::Silent,
        }
    }
}

/// The slices that can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many, all that there are.
    All(usize),
    /// So many that are this user's, by the broker.
    Own(usize),
    /// Root's to see.
    Nothing,
}

/// What was read.
#[derive(Debug)]
pub struct Layers {
    /// The shim, or why there is none.
    pub shim: Result<PathBuf, HostError>,
    /// Whether the ledger can be written; or why not.
    pub ledger: Result<PathBuf, String>,
    /// Whether the broker places slices for this user, who may not write the ledger; or why not. None where he may.
    pub broker: Option<Result<(), String>>,
    /// How many slices there are; or which of them is not understood.
    pub slices: Result<Seen, String>,
    /// Whether the agent answers.
    pub agent: Agent,
    /// What keeps GPUs from the agent that are there.
    pub agent_fault: Option<String>,
    /// What the agent is to do with a process that has more than its slice.
    pub watchdog: Watchdog,
    /// Whether the kernel can limit memory of GPUs.
    pub dmem: bool,
    /// Whether filters can ask another process.
    pub user_notification: bool,
    /// Whether containers start that nothing limits.
    pub allow_uncovered: bool,
}

/// What the agent misses of the GPUs that are seen from here.
fn agent_fault(host: &Host) -> Option<String> {
    let view = AgentView::read(&host.state)?;
    let there = host.inventory(Detail::Placement).ok()?.gpus.len();
    (view.gpus < there).then(|| view.fault(there)).flatten()
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
        let broker = ledger.is_err().then(|| client::ask(host, &Ask::Greet).map(drop));
        let guard = UnixStream::connect(host.guard_socket()).map(drop);
        Self {
            shim: host.shim(),
            agent: Agent::of(&guard, broker.as_ref()),
            agent_fault: agent_fault(host),
            slices: match (client::visible_records(host), &broker) {
                (Ok(records), None) => Ok(Seen::All(records.len())),
                (Ok(records), Some(_)) => Ok(Seen::Own(records.len())),
                (Err(error @ LedgerError::Record { .. }), _) => Err(error.to_string()),
                (Err(_), _) => Ok(Seen::Nothing),
            },
            broker: broker.map(|greeted| greeted.map_err(|error| error.to_string())),
            ledger,
            watchdog: host.config.watchdog,
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
            self.watchdog(),
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
            Ok(Seen::All(count)) => check(format!("{count} there")),
            Ok(Seen::Own(count)) => check(format!("{count} of this user's")),
            Ok(Seen::Nothing) => check(ROOTS_TO_SEE.to_owned()),
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
        match (self.agent, &self.agent_fault) {
            (Agent::Answers, None) => check("answers"),
            (Agent::Answers, Some(fault)) => {
                check(&format!("answers, but {fault}")).with(State::Absent, SHOW_AGENT)
            }
            (Agent::Unseen, _) => check(ROOTS_TO_SEE),
            (Agent::Silent, _) => {
                check("does not answer: no guarded slices, no watchdog").with(State::Absent, START_AGENT)
            }
        }
    }

    fn guarded(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, GUARDED, found);
        match self.agent {
            _ if !self.user_notification => {
                check("needs the kernel's seccomp").with(State::Absent, "see kernel, seccomp")
            }
            Agent::Answers if self.broker.is_some() => check("for root's slices that ask for it"),
            Agent::Answers => check("for slices that ask for it"),
            Agent::Unseen => check(ROOTS_TO_SEE),
            Agent::Silent => check("needs the agent").with(State::Absent, START_AGENT),
        }
    }

    /// The configuration says what is to be done, and the agent, which no installation starts, does it.
    fn watchdog(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, "watchdog", found);
        let setting = match self.watchdog {
            Watchdog::Off => {
                return check(
                    "watchdog = \"off\": nobody looks for processes that have more than their slice",
                )
                .with(State::Absent, "watchdog = \"kill\" in the configuration");
            }
            Watchdog::Log => "log",
            Watchdog::Kill => "kill",
        };
        match (self.agent, self.watchdog) {
            (Agent::Silent, _) => check(&format!(
                "watchdog = \"{setting}\", but sdg-agent, which would do it, does not run"
            ))
            .with(State::Absent, START_AGENT),
            (Agent::Unseen, _) => check(ROOTS_TO_SEE),
            (Agent::Answers, Watchdog::Kill) => check("a process that has more than its slice is killed"),
            (Agent::Answers, _) => {
                check("a process that has more than its slice is told of in the agent's log")
            }
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
