//! `sdg-sim launch`, which `run` starts: enters the namespace, installs the filter, hands the listener over, and
//! becomes the command.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};

use crate::cli::LaunchArgs;
use crate::{filter, namespace, sys};

/// Why the command could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The namespace could not be made.
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    /// A system call failed.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The command does not exist or may not be run.
    #[error("{command}: {source}")]
    Command {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> LaunchError {
    move |source| LaunchError::System {
        operation,
        source: source.into(),
    }
}

/// Becomes the command, which ends with `sdg-sim run`. Returns only where that fails.
pub fn run(args: &LaunchArgs) -> Result<Infallible, LaunchError> {
    set_pdeathsig(Signal::SIGKILL).map_err(failed("tie to sdg-sim run"))?;
    become_command(args)
}

/// Becomes the command. Returns only where that fails.
pub fn become_command(args: &LaunchArgs) -> Result<Infallible, LaunchError> {
    SigSet::empty()
        .thread_set_mask()
        .map_err(failed("unblock signals"))?;
    namespace::enter(&args.node)?;
    let (program, arguments) = args.command.split_first().ok_or(LaunchError::Command {
        command: String::new(),
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let listener = sys::install_filter(&filter::program()).map_err(failed("install the seccomp filter"))?;
    let fds = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        args.socket,
        &[IoSlice::new(b"L")],
        &rights,
        MsgFlags::empty(),
        None,
    )
    .map_err(failed("hand the listener over"))?;
    drop(listener);
    // The supervisor hangs up when it has opened this process's namespace.
    recv(args.socket, &mut [0], MsgFlags::empty()).map_err(failed("wait for the supervisor"))?;
    nix::unistd::close(args.socket).map_err(failed("close the socket"))?;
    let source = Command::new(program)
        .args(arguments)
        .env("SDG_SYSROOT", &args.node)
        .exec();
    Err(LaunchError::Command {
        command: program.to_string_lossy().into_owned(),
        source,
    })
}
