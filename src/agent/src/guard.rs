//! The guard: answers the calls of guarded containers that allocate video memory or make queues.
//!
//! ```text
//! runtime ─ listener and state over the socket ─→ slice ─→ a thread that answers, as long as the container lives
//! ```
//! A listener that nobody holds makes the kernel refuse the calls (ENOSYS): where the agent ends, or does not know what to
//! do with a container, nothing is allowed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sdg::edits::{ContainerEdits, EDITS_FILE};
use sdg::host::Host;
use sdg::ledger::pages::PageError;
use sdg::ledger::store::LedgerError;
use sdg_notify::handover::receive_listener;
use serde::Deserialize;

use self::account::Account;
use self::serve::{Devices, Guarded, Pace};
use crate::figures::Figures;
use crate::parts::PartError;
use crate::socket;

pub mod account;
pub mod asked;
pub mod mask;
pub mod masked;
pub mod ranges;
pub mod serve;

/// Why a container is not served.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The socket.
    #[error("read what the runtime sent: {0}")]
    Stream(#[from] io::Error),
    /// Who may hand over listeners: root, and the agent's own user.
    #[error("user {0} is not root")]
    Peer(u32),
    /// The state.
    #[error("the container's state: {0}")]
    State(#[from] serde_json::Error),
    /// The slice.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its pages.
    #[error(transparent)]
    Page(#[from] PageError),
    /// What the slice's container was given.
    #[error("read {}: {source}", path.display())]
    Edits {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A slice without devices.
    #[error("slice {0} has no devices to guard")]
    NoDevices(String),
}

/// The container process state, as far as it matters. Source: OCI runtime specification, "Seccomp".
#[derive(Debug, Deserialize)]
struct ProcessState {
    /// What the edits put into the profile: the slice's id.
    #[serde(default)]
    metadata: String,
    state: ContainerState,
}

#[derive(Debug, Deserialize)]
struct ContainerState {
    id: String,
}

/// Takes listeners for ever.
pub fn run(host: &Host) -> Result<Infallible, PartError> {
    // Only root may connect; that the peer is root is asked as well.
    let socket = socket::listen(&host.guard_socket(), 0o600)?;
    let slices = Arc::new(Slices {
        host: host.clone(),
        accounts: Mutex::default(),
    });
    loop {
        match socket.accept() {
            Ok((stream, _)) => serve_in_thread(Arc::clone(&slices), stream),
            Err(error) => {
                tracing::warn!(%error, "guard: no connection");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn serve_in_thread(slices: Arc<Slices>, stream: UnixStream) {
    let body = move || match slices.take(stream) {
        Ok(Some(guarded)) => {
            tracing::info!(container = guarded.container, "guard: guarded");
            guarded.serve();
            tracing::info!(container = guarded.container, "guard: gone");
        }
        Ok(None) => {}
        // The listener is closed by now, and guarded calls of the container fail.
        Err(error) => tracing::error!(%error, "guard: a container is not served"),
    };
    if let Err(error) = thread::Builder::new().name("guard".to_owned()).spawn(body) {
        tracing::error!(%error, "guard: no thread for a container");
    }
}

/// The accounts of slices that have guarded containers.
struct Slices {
    host: Host,
    accounts: Mutex<HashMap<String, Weak<Account>>>,
}

impl Slices {
    /// None where somebody only looked whether the agent is there.
    fn take(&self, mut stream: UnixStream) -> Result<Option<Guarded>, HandoverError> {
        let peer = getsockopt(&stream, PeerCredentials)
            .map_err(io::Error::from)?
            .uid();
        if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
            return Err(HandoverError::Peer(peer));
        }
        // For as long as it takes: a runtime connects first and sends when it comes to it, on a loaded machine many seconds later.
        // How long a start may take is the engine's to say, and nobody waits for this thread.
        let Some((listener, state)) = receive_listener(&mut stream)? else {
            return Ok(None);
        };
        let state: ProcessState = serde_json::from_slice(&state)?;
        self.guarded(listener, state).map(Some)
    }

    fn guarded(&self, listener: OwnedFd, state: ProcessState) -> Result<Guarded, HandoverError> {
        let slice = state.metadata;
        Ok(Guarded {
            listener,
            container: state.state.id,
            devices: self.devices(&slice)?,
            account: self.account(&slice)?,
            pace: Pace::default(),
        })
    }

    fn account(&self, slice: &str) -> Result<Arc<Account>, HandoverError> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, account| account.strong_count() > 0);
        if let Some(account) = accounts.get(slice).and_then(Weak::upgrade) {
            return Ok(account);
        }
        let ledger = self.host.ledger();
        let record = ledger.record(slice)?;
        let account = Arc::new(Account::open(
            &ledger,
            &record,
            Figures::below(&self.host.sysroot),
        )?);
        accounts.insert(slice.to_owned(), Arc::downgrade(&account));
        Ok(account)
    }

    fn devices(&self, slice: &str) -> Result<Devices, HandoverError> {
        let record = self.host.ledger().record(slice)?;
        let path = self.host.ledger().slice_dir(&record.id).join(EDITS_FILE);
        let text = std::fs::read(&path).map_err(|source| HandoverError::Edits { path, source })?;
        let edits: ContainerEdits = serde_json::from_slice(&text)?;
        let mut numbers = edits
            .devices
            .iter()
            .map(|device| libc::makedev(device.major, device.minor));
        let kfd = numbers.next().ok_or(HandoverError::NoDevices(record.id))?;
        Ok(Devices {
            kfd,
            render: numbers.collect(),
        })
    }
}
