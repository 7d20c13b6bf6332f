//! `sdg-sim run`: a node, a supervisor, and the command below it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, IoSliceMut, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;

use nix::cmsg_space;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid, mkdtemp, setsid};

use crate::cli::{LaunchArgs, RunArgs};
use crate::commands::launch::{self, LaunchError};
use crate::device::machine::Machine;
use crate::janitor::Janitor;
use crate::log::Log;
use crate::model::{self, GpuModel, ModelError};
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
    /// The command cannot be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
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
    if args.keep_pid {
        return keep_pid(args, log);
    }
    let (directory, janitor) = directory(args)?;
    let janitor_id = janitor.as_ref().map(Janitor::id);
    let result = run_in((&directory, janitor_id), args, Arc::new(log));
    if let Some(janitor) = janitor {
        janitor.clean();
    }
    result
}

/// Becomes the command, which so has this process's id, and leaves the node to a child. Returns here only where the command
/// could not be started, and in the child when nobody is left on the node.
fn keep_pid(args: &RunArgs, log: Log) -> Result<u8, RunError> {
    let command = Pid::this();
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    let Some(child) = sys::fork().map_err(failed("fork"))? else {
        drop(theirs);
        return serve_process(command, ours, args, log);
    };
    drop(ours);
    let mut path = Vec::new();
    let mut reader = BufReader::new(&theirs);
    reader
        .read_until(b'\0', &mut path)
        .map_err(failed("read the node's directory"))?;
    if path.pop().is_none() {
        // The child has said why.
        let status = waitpid(child, None).map_err(failed("wait for the simulator"))?;
        return Ok(match status {
            WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(NOT_STARTED),
            _ => NOT_STARTED,
        });
    }
    let never = launch::become_command(&LaunchArgs {
        node: PathBuf::from(OsString::from_vec(path)),
        socket: theirs.into_raw_fd(),
        command: args.command.clone(),
    })?;
    match never {}
}

/// Serves the process `command`, which takes the node's directory and gives the listener by `socket`, and all that it starts,
/// until nobody is left.
fn serve_process(command: Pid, socket: UnixStream, args: &RunArgs, log: Log) -> Result<u8, RunError> {
    // What ends the command's session or terminal is not meant for the node.
    setsid().map_err(failed("start a session"))?;
    let _signals = block_signals()?;
    let (directory, janitor) = directory(args)?;
    let node = Node::read(&directory)?;
    let path = [directory.as_os_str().as_bytes(), b"\0"].concat();
    (&socket)
        .write_all(&path)
        .map_err(failed("tell the node's directory"))?;
    if let Some(handover) = receive(socket, command, &directory)? {
        let supervisor = supervise(node, handover, &directory, Arc::new(log))?;
        supervisor.serve_all().map_err(failed("serve"))?;
    }
    if let Some(janitor) = janitor {
        janitor.clean();
    }
    Ok(0)
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
    let node = Node::read(directory)?;
    let signals = block_signals()?;
    let (mut command, handover) = launch(directory, args)?;
    let Some(handover) = handover else {
        return Ok(exit_code(command.wait().map_err(failed("wait"))?));
    };
    let supervisor = supervise(node, handover, directory, log)?;
    let code = attend(&supervisor, (&mut command, janitor), &signals);
    let _absent = fs::remove_file(directory.join(status::SOCKET));
    code
}

/// What is known of a node before a command runs on it.
struct Node {
    models: Vec<GpuModel>,
    numbers: Numbers,
}

impl Node {
    fn read(directory: &Path) -> Result<Self, ModelError> {
        let models = model::read_node(directory)?;
        let minors = models.iter().map(|model| model.render_minor).collect();
        let numbers = Numbers::new(model::kfd_major(directory)?, minors);
        Ok(Self { models, numbers })
    }
}

/// What a command hands over before it runs: its seccomp listener, and its mount namespace.
struct Handover {
    listener: OwnedFd,
    sys_mounts: SysMounts,
}

/// Starts to answer the calls of a command.
fn supervise(
    node: Node,
    handover: Handover,
    directory: &Path,
    log: Arc<Log>,
) -> Result<Arc<Supervisor>, RunError> {
    let Node { models, numbers } = node;
    let Handover { listener, sys_mounts } = handover;
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
    Ok(supervisor)
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

/// Starts the command; without what it hands over where it failed before that, and said why itself.
fn launch(directory: &Path, args: &RunArgs) -> Result<(Child, Option<Handover>), RunError> {
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).map_err(failed("pass on a socket"))?;
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
    let handover = receive(ours, Pid::from_raw(child.id() as i32), directory)?;
    Ok((child, handover))
}

/// What the process `command` hands over by `socket`; none where it ended before.
fn receive(socket: UnixStream, command: Pid, directory: &Path) -> Result<Option<Handover>, RunError> {
    let mut byte = [0; 1];
    let mut space = cmsg_space!([i32; 1]);
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
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
        return Ok(None);
    };
    // The command waits for the end of our socket: one that ends at once would take its namespace along.
    let sys_mounts = SysMounts::new(command, directory).map_err(failed("open the namespace"))?;
    Ok(Some(Handover { listener, sys_mounts }))
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
