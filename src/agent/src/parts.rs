//! What the agent consists of. A part runs in a thread of its own until it fails.

use std::convert::Infallible;
use std::sync::mpsc;
use std::thread;

use sdg::config::Watchdog;
use sdg::host::Host;
use sdg::lifecycle::LifecycleError;

use crate::broker::{self, BrokerError};
use crate::nri::{self, NriError};
use crate::{gpus, guard, metrics, reaper, watchdog};

/// Why a part ended, and with it the agent.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The ledger or what is in it.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// A socket on which nobody can be served.
    #[error("listen on {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection to the container runtime.
    #[error(transparent)]
    Nri(#[from] NriError),
    /// Slices for ordinary users.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// No thread to be had.
    #[error("start a thread: {0}")]
    Thread(std::io::Error),
    /// A part that ended without saying why.
    #[error("every part of the agent has ended")]
    Ended,
}

/// A part: its name in the log, and what it does.
#[derive(Clone, Copy)]
pub struct Part {
    /// Name, a word.
    pub name: &'static str,
    /// Runs until it fails.
    pub run: fn(&Host) -> Result<Infallible, PartError>,
}

/// Slices for pods.
pub const NRI: Part = Part {
    name: "nri",
    run: |host| Ok(nri::run(host)?),
};

/// The parts that a configuration asks for.
pub fn wanted(host: &Host) -> Vec<Part> {
    let mut parts = vec![
        Part {
            name: "gpus",
            run: gpus::run,
        },
        Part {
            name: "reaper",
            run: reaper::run,
        },
        Part {
            name: "guard",
            run: guard::run,
        },
    ];
    if host.config.watchdog != Watchdog::Off {
        parts.push(Part {
            name: "watchdog",
            run: watchdog::run,
        });
    }
    if host.config.nri_socket.is_some() {
        parts.push(NRI);
    }
    if host.config.broker {
        parts.push(Part {
            name: "broker",
            run: broker::run,
        });
    }
    if host.config.metrics.is_some() {
        parts.push(Part {
            name: "metrics",
            run: metrics::run,
        });
    }
    parts
}

/// Runs parts until one fails; says which and why.
pub fn run(host: &Host, parts: Vec<Part>) -> (&'static str, PartError) {
    let (failed, failure) = mpsc::channel();
    for part in parts {
        let (failed, host) = (failed.clone(), host.clone());
        let body = move || {
            tracing::info!(part = part.name, "started");
            let Err(error) = (part.run)(&host);
            // The receiver is gone only where another part has failed before.
            let _ = failed.send((part.name, error));
        };
        if let Err(error) = thread::Builder::new().name(part.name.to_owned()).spawn(body) {
            return (part.name, PartError::Thread(error));
        }
    }
    drop(failed);
    failure.recv().unwrap_or(("agent", PartError::Ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_that_fails_ends_the_agent() {
        let host = Host::unconfigured(&sdg::host::Places::default()).unwrap();
        let sleeper = Part {
            name: "sleeper",
            run: |_| {
                loop {
                    thread::park();
                }
            },
        };
        let faulty = Part {
            name: "faulty",
            run: |_| Err(PartError::Thread(std::io::ErrorKind::OutOfMemory.into())),
        };
        let (name, error) = run(&host, vec![sleeper, faulty]);
        assert_eq!(name, "faulty");
        assert!(error.to_string().starts_with("start a thread: "));
    }
}
