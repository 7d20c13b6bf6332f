//! What every transaction does beside its own business: the dead are removed, and what is lent is recomputed.

use std::collections::HashSet;

use crate::host::{Host, now};
use crate::inventory::Detail;
use crate::ledger::reap::{self, Processes};
use crate::ledger::record::{ProcessIdentity, SliceRecord};
use crate::ledger::store::Locked;
use crate::ledger::{claimants, members};
use crate::lifecycle::LifecycleError;
use crate::lifecycle::in_force::{ATTEMPTS, Outcome, Scope, put_in_force};
use crate::lifecycle::limits;
use crate::view;

/// What is left after the dead are gone.
pub(super) struct Survivors {
    /// Records, oldest first.
    pub kept: Vec<SliceRecord>,
    /// GPUs (UUIDs) on which a slice was reaped: others there may be lent more.
    pub freed: HashSet<String>,
}

/// Removes slices that are over, and leftovers of killed commands; puts pages right that one left unsettled.
pub(super) fn remaining(host: &Host, locked: &Locked<'_>) -> Result<Survivors, LifecycleError> {
    let mut survivors = Survivors {
        kept: locked.sweep()?,
        freed: HashSet::new(),
    };
    let (patience, now) = (host.patience(), now());
    let processes = Processes {
        is_alive: ProcessIdentity::is_alive,
        may_come: claimants::may_come,
    };
    let mut over = Vec::new();
    for (position, record) in survivors.kept.iter().enumerate() {
        if reap::is_over(record, now, patience, &processes)
            && members::living(&locked.ledger().slice_dir(&record.id))?.is_empty()
        {
            over.push(position);
        }
    }
    // From behind, so that the positions before stay.
    for position in over.into_iter().rev() {
        let record = survivors.kept.remove(position);
        locked.end(&record)?;
        survivors
            .freed
            .extend(record.gpus.into_iter().map(|grant| grant.uuid));
    }
    if locked.is_unsettled() {
        rebalance(host, locked, survivors.kept.clone(), true)?;
        locked.settle()?;
    }
    Ok(survivors)
}

/// Recomputes what is lent. Only a complete one looks at pages that cannot have changed.
pub(super) fn rebalance(
    host: &Host,
    locked: &Locked<'_>,
    records: Vec<SliceRecord>,
    complete: bool,
) -> Result<(), LifecycleError> {
    if records.is_empty() {
        return Ok(());
    }
    let inventory = host.inventory(Detail::Placement)?;
    let mut slices = limits::with_usage(locked.ledger(), records)?;
    let scope = if complete {
        Scope::All
    } else {
        Scope::Elastic(inventory.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect())
    };
    for _ in 0..ATTEMPTS {
        let planned = limits::plan(&inventory.gpus, &slices, &host.rules());
        // Who does not answer keeps units that nobody has a guarantee on.
        if put_in_force(locked.ledger(), &slices, &planned, &scope)? != Outcome::Outgrown {
            break;
        }
        limits::refresh(locked.ledger(), &mut slices)?;
    }
    for slice in &slices {
        for (position, used) in slice.used.iter().enumerate() {
            view::set_used(&locked.ledger().slice_dir(&slice.record.id), position, *used)?;
        }
    }
    Ok(())
}
