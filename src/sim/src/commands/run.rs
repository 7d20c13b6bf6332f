//! `sdg-sim run`: a node, a supervisor, and the command below it.

use std::env;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;

use nix::cmsg_space;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::unistd::{Pid, geteuid, mkdtemp};

use crate::cli::RunArgs;
use crate::device::machine::Machine;
use crate::janitor::Janitor;
use crate::log::Log;
use crate::model::{self, ModelError};
use crate::node::{self, NodeError};
use crate::opening::Numbers;
use crate::preset::{Preset, PresetError};
use crate::supervisor::{Interrupter, Supervisor};
use crate::sysmount::SysMounts;
use crate::topology::Topology;
use crate::{status, stragglers, sys};

/// What woke the supervisor: the command's end, or a signal for it.
const COMMAND: u64 = 1 << 40;
const SIGNAL: u64 = 1 << 41;
/// Exit status where the command was not started.
const NOT_STARTED: u8 = 127;

/// Why nothing could be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not root.
    #[error("sdg-sim run must be root: it makes device nodes and mounts")]
    NotRoot,
    /// The machine has GPUs of its own.
    #[error("this machine has a real KFD (/sys/class/kfd/kfd): sdg-sim run would hide its GPUs and refuses")]
    RealKfd,
    /// The preset cannot be had.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// The node cannot be made.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A system call failed.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
}

fn failed<E: Into<io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> RunError {
    let operation = operation.into();
    move |source| RunError::System {
        operation,
        source: source.into(),
    }
}

/// Runs the command. Returns its exit status; 128 and the signal's number where a signal ended it.
pub fn run(args: &RunArgs) -> Result<u8, RunError> {
    if !geteuid().is_root() {
        return Err(RunError::NotRoot);
    }
    if Path::new("/sys/class/kfd/kfd").exists() {
        return Err(RunError::RealKfd);
    }
    let log = Log::create(args.log.as_deref()).map_err(failed(format!("write the log {:?}", args.log)))?;
    let (directory, janitor) = directory(args)?;
    let janitor_id = janitor.as_ref().map(Janitor::id);
    let result = run_in((&directory, janitor_id), args, Arc::new(log));
    if let Some(janitor) = janitor {
        janitor.clean();
    }
    result
}

/// The node's directory, and who removes it where it is ours.
fn directory(args: &RunArgs) -> Result<(PathBuf, Option<Janitor>), RunError> {
    if let Some(node) = &args.node {
        let node = fs::canonicalize(node).map_err(failed(format!("read {}", node.display())))?;
        return Ok((node, None));
    }
    let mut preset = Preset::named(&args.preset.preset)?;
    preset.set_all(&args.preset.changes)?;
    // A node is thousands of small files: in memory that takes milliseconds, on some disks seconds.
    let shared_memory = Path::new("/dev/shm");
    let parent = if shared_memory.is_dir() {
        shared_memory.to_owned()
    } else {
        env::temp_dir()
    };
    let template = parent.join("sdg-sim.XXXXXX");
    let directory = mkdtemp(&template).map_err(failed(format!("create {}", template.display())))?;
    let janitor = Janitor::start(&directory).map_err(failed("start the janitor"))?;
    node::build(&preset, &directory)?;
    Ok((directory, Some(janitor)))
}

fn run_in((directory, janitor): (&Path, Option<u32>), args: &RunArgs, log: Arc<Log>) -> Result<u8, RunError> {
    set_child_subreaper(true).map_err(failed("become the reaper of the tree"))?;
    let models = model::read_node(directory)?;
    let minors = models.iter().map(|model| model.render_minor).collect();
    let numbers = Numbers::new(model::kfd_major(directory)?, minors);
    let signals = block_signals()?;
    let (mut command, handover) = launch(directory, args)?;
    let Some((listener, sys_mounts)) = handover else {
        return Ok(exit_code(command.wait().map_err(failed("wait"))?));
    };
    let interrupter = Arc::new(Interrupter::default());
    let interrupts = Arc::clone(&interrupter);
    let topology = Topology::new(&models, directory);
    let supervisor = Machine::new(models, directory, log, interrupts)
        .and_then(|machine| Supervisor::new(machine, listener, numbers, (sys_mounts, topology)))
        .map(Arc::new)
        .map_err(failed("make the devices"))?;
    interrupter.reach(&supervisor);
    supervisor.take_calls().map_err(failed("start a thread"))?;
    status::answer(&supervisor, directory).map_err(failed("open the status socket"))?;
    let code = attend(&supervisor, (&mut command, janitor), &signals);
    let _absent = fs::remove_file(directory.join(status::SOCKET));
    code
}

/// Signals that are passed on, blocked for this process.
fn block_signals() -> Result<SignalFd, RunError> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(failed("block signals"))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed("signalfd"))
}

/// Starts the command, with its listener and its namespace; without them where it failed before it had a listener, and
/// said why itself.
fn launch(directory: &Path, args: &RunArgs) -> Result<(Child, Option<(OwnedFd, SysMounts)>), RunError> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty())
        .map_err(failed("make a socket pair"))?;
    nix::fcntl::fcntl(
        &ours,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .map_err(failed("mark a socket"))?;
    let program = env::current_exe().map_err(failed("find sdg-sim"))?;
    let child = Command::new(program)
        .arg("launch")
        .arg(directory)
        .arg(theirs.as_raw_fd().to_string())
        .arg("--")
        .args(&args.command)
        .spawn()
        .map_err(failed("start sdg-sim launch"))?;
    drop(theirs);
    let mut byte = [0; 1];
    let mut space = cmsg_space!([i32; 1]);
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        ours.as_raw_fd(),
        &mut buffers,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .map_err(failed("receive the listener"))?;
    let rights = message.cmsgs().map_err(failed("receive the listener"))?;
    let fd = rights.into_iter().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let Some(listener) = fd.map(sys::own) else {
        return Ok((child, None));
    };
    // The child waits for the end of our socket: a command that ends at once would take its namespace along.
    let sys_mounts = SysMounts::new(child.id(), directory).map_err(failed("open the namespace"))?;
    Ok((child, Some((listener, sys_mounts))))
}

/// Serves until the command ends.
fn attend(
    supervisor: &Supervisor,
    (command, janitor): (&mut Child, Option<u32>),
    signals: &SignalFd,
) -> Result<u8, RunError> {
    let pid = command.id() as i32;
    let end = sys::pidfd(pid).map_err(failed("watch the command"))?;
    supervisor
        .watch(&end, COMMAND)
        .map_err(failed("watch the command"))?;
    supervisor
        .watch(signals, SIGNAL)
        .map_err(failed("watch signals"))?;
    loop {
        if supervisor.serve(None).map_err(failed("serve"))? == Some(COMMAND) {
            let status = command.wait().map_err(failed("wait for the command"))?;
            stragglers::end(supervisor, &end, janitor).map_err(failed("end what the command left"))?;
            return Ok(exit_code(status));
        }
        while let Ok(Some(info)) = signals.read_signal() {
            // What the terminal sends, the command has got itself.
            if let (true, Ok(signal)) = (info.ssi_code <= 0, Signal::try_from(info.ssi_signo as i32)) {
                let _gone = kill(Pid::from_raw(pid), signal);
            }
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    status
        .code()
        .or(signal)
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(NOT_STARTED)
}
