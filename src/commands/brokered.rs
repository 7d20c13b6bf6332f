//! What a slice's hooks do to the ledger, where they may; else the broker does it for them.
//!
//! ```text
//! lifecycle ─ forbidden to this user → broker of sdg-agent ─ there is none → both reasons, in one line
//! ```

use std::io;

use crate::broker::client::{self, BrokerError};
use crate::broker::{Answer, Ask};
use crate::commands::{CommandError, place_slice, warn_small, workload};
use crate::host::Host;
use crate::inventory::Inventory;
use crate::ledger::record::Holder;
use crate::ledger::store::LedgerError;
use crate::lifecycle::{self, Claim, LifecycleError, NewSlice, Placed};
use crate::oci::config::Spec;
use crate::placement::TooSmall;
use crate::request::{LONG_PREFIX, SHORT_PREFIX};

/// Places a slice for a container of this spec.
pub fn place(
    host: &Host,
    inventory: &Inventory,
    (new, spec): (&NewSlice<'_>, &Spec),
) -> Result<Placed, CommandError> {
    let forbidden = match place_slice(host, inventory, new) {
        Err(error) if is_forbidden(&error) => error,
        placed => return Ok(placed?),
    };
    let ours = |(key, _): &(&str, &str)| key.starts_with(SHORT_PREFIX) || key.starts_with(LONG_PREFIX);
    let annotations = spec.annotations().filter(ours);
    let asked = Ask::Place {
        annotations: annotations
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        preload: new.preload.to_vec(),
        covered: new.covered,
        maker: match &new.holder {
            Holder::Placed { maker, .. } => maker.map(|maker| maker.pid),
            Holder::Container { .. } | Holder::Pod { .. } | Holder::Named => None,
        },
    };
    match ask(host, forbidden, &asked)? {
        Answer::Placed { record, edits } => {
            warn_small(TooSmall::first(&record.gpus, inventory));
            Ok(Placed {
                record: *record,
                edits: *edits,
                unanswered: Vec::new(),
            })
        }
        _ => Err(BrokerError::Other.into()),
    }
}

/// Ties a slice to its container, and writes down what that runs.
pub fn claim(host: &Host, slice: &str, (claim, spec): (Claim<'_>, &Spec)) -> Result<(), CommandError> {
    let forbidden = match lifecycle::claim(host, slice, claim) {
        Err(error) if is_forbidden(&error) => error,
        record => {
            workload::note(host, &record?, spec);
            return Ok(());
        }
    };
    let asked = Ask::Claim {
        slice: slice.to_owned(),
        container: claim.container.to_owned(),
        pid: claim.pid,
        workload: workload::of(spec),
    };
    ask(host, forbidden, &asked).map(drop)
}

/// Lets a slice go.
pub fn release(host: &Host, slice: &str, container: Option<&str>) -> Result<(), CommandError> {
    let forbidden = match lifecycle::release(host, slice, container) {
        Err(error) if is_forbidden(&error) => error,
        released => return Ok(released.map(drop)?),
    };
    let asked = Ask::Release {
        slice: slice.to_owned(),
        container: container.map(str::to_owned),
    };
    ask(host, forbidden, &asked).map(drop)
}

/// Whether it takes root: for the ledger, or for the socket of the guard.
fn is_forbidden(error: &LifecycleError) -> bool {
    match error {
        LifecycleError::Ledger(LedgerError::Forbidden(_)) => true,
        LifecycleError::NoGuard { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

fn ask(host: &Host, forbidden: LifecycleError, asked: &Ask) -> Result<Answer, CommandError> {
    client::ask(host, asked).map_err(|broker| match broker {
        BrokerError::Absent { .. } => CommandError::NoBroker {
            forbidden: Box::new(forbidden),
            broker,
        },
        broker => broker.into(),
    })
}
