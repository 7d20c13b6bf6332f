//! `sdg-agent nri`: slices for Kubernetes pods, by the Node Resource Interface of containerd and CRI-O. It alone carries
//! the labels of pods.
//!
//! ```text
//! socket → trunk.rs: two connections → ttrpc.rs: calls → session.rs ─→ pods.rs: ledger
//!                                                               ←─ adjust.rs: edits
//! ```
//!
//! The devices of GPUs reach a container through these edits alone, and a hook among them looks whether all are in
//! force: where the runtime drops an edit the container does not start, and where this plugin is away it has no GPU.

pub mod adjust;
pub mod messages;
pub mod pods;
pub mod session;
pub mod trunk;
pub mod ttrpc;

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sdg::host::{Host, HostError};

use pods::Pods;
use session::{Identity, Session, SessionError};
use trunk::Trunk;

/// Where runtimes listen for plugins.
pub const DEFAULT_SOCKET: &str = "/var/run/nri/nri.sock";
/// Our name and our place among the plugins.
const NAME: &str = "sdg";
const INDEX: &str = "10";
/// Shortest and longest pause before the next try to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A runtime waits for 2 s and then goes on without us: the ledger is waited for so many seconds at most.
const LOCK_TIMEOUT: u64 = 1;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NriError {
    /// This installation.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The socket.
    #[error("connect to {}: {source}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The descriptor that the runtime gave us.
    #[error("NRI_PLUGIN_SOCKET={value:?}: {reason}")]
    Launched {
        /// The variable's value.
        value: String,
        /// Why it is no socket.
        reason: String,
    },
    /// Processes of containers cannot be told apart from others.
    #[error("the container runtime is in another pid namespace (in a pod: set hostPID: true)")]
    PidNamespace,
    /// The session that the runtime began has ended; it will begin another.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Whether a runtime started this program as a plugin.
pub fn is_launched() -> bool {
    std::env::var_os("NRI_PLUGIN_SOCKET").is_some()
}

/// Speaks with the runtime that started us until it goes, or with whoever listens on the socket, for ever.
pub fn run(host: &Host) -> Result<Infallible, NriError> {
    let mut host = host.clone().with_hooks_beside()?;
    host.config.lock_timeout = host.config.lock_timeout.min(LOCK_TIMEOUT);
    if is_launched() {
        return serve_launched(&host);
    }
    let path = host.config.nri_socket.clone();
    let path = path.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET));
    let mut pause = PAUSES.0;
    let mut last_reason = String::new();
    loop {
        let reason = match connect(path) {
            Ok(socket) => {
                let mut session = Session::new(Trunk::new(socket), Pods { host: &host });
                let reason = session.serve(&identity()).to_string();
                if session.is_configured() {
                    (pause, last_reason) = (PAUSES.0, String::new());
                }
                reason
            }
            Err(error) => error.to_string(),
        };
        // A socket that stays away is worth one line.
        if reason != last_reason {
            tracing::warn!(reason, "not connected, trying again");
            last_reason = reason;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn connect(path: &Path) -> Result<UnixStream, NriError> {
    let socket = UnixStream::connect(path).map_err(|source| NriError::Connect {
        path: path.to_owned(),
        source,
    })?;
    check_peer(&socket)?;
    Ok(socket)
}

/// The pids that the runtime tells us are those of its namespace. Of a process that we cannot see the kernel says 0.
fn check_peer(socket: &UnixStream) -> Result<(), NriError> {
    match getsockopt(socket, PeerCredentials) {
        Ok(peer) if peer.pid() > 0 => Ok(()),
        _ => Err(NriError::PidNamespace),
    }
}

/// A runtime that starts plugins ends with them: it starts them anew, and a second one of us beside it would adjust
/// containers twice.
fn serve_launched(host: &Host) -> Result<Infallible, NriError> {
    let value = std::env::var("NRI_PLUGIN_SOCKET").unwrap_or_default();
    let launched = |reason: String| NriError::Launched {
        value: value.clone(),
        reason,
    };
    let descriptor = value
        .parse()
        .map_err(|_| launched("no descriptor's number".to_owned()))?;
    let socket = sdg::sys::duplicate_of(nix::unistd::getpid(), descriptor)
        .map_err(|error| launched(error.to_string()))?;
    let socket = UnixStream::from(socket);
    check_peer(&socket)?;
    let mut session = Session::new(Trunk::new(socket), Pods { host });
    Err(session.serve(&identity()).into())
}

/// As the runtime says, where it started us.
fn identity() -> Identity {
    let told = |variable, default: &str| std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    Identity {
        name: told("NRI_PLUGIN_NAME", NAME),
        index: told("NRI_PLUGIN_IDX", INDEX),
    }
}
