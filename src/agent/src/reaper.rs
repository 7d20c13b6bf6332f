//! Reaps without waiting for the next placement, so that memory that a dead container held can be lent soon.

use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use sdg::host::Host;
use sdg::lifecycle::{self, LifecycleError};

use crate::parts::PartError;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reaps for ever.
pub fn run(host: &Host) -> Result<Infallible, PartError> {
    loop {
        match lifecycle::reap(host) {
            Ok(gone) => {
                for slice in gone {
                    tracing::info!(slice, "reaped");
                }
            }
            // A busy ledger is one that others reap.
            Err(error @ LifecycleError::Ledger(_)) => tracing::warn!(%error, "not reaped"),
            Err(error) => return Err(error.into()),
        }
        thread::sleep(INTERVAL);
    }
}
