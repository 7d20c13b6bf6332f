//! A slice that is there: claimed, released, deleted, reaped.

use std::collections::HashSet;

use crate::host::Host;
use crate::ledger::members;
use crate::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use crate::ledger::store::{Ledger, LedgerError, Locked};
use crate::ledger::usage;
use crate::lifecycle::upkeep::{rebalance, remaining};
use crate::lifecycle::{LifecycleError, kernel_memory};

/// Who claims a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The container's id.
    pub container: &'a str,
    /// Its first process.
    pub pid: i32,
}

/// Ties a slice to its container: from now on it lasts as long as the container's first process.
pub fn claim(host: &Host, id: &str, claim: Claim<'_>) -> Result<SliceRecord, LifecycleError> {
    let process = ProcessIdentity::of(claim.pid)
        .ok()
        .flatten()
        .ok_or_else(|| LifecycleError::NoProcess {
            container: claim.container.to_owned(),
            pid: claim.pid,
        })?;
    let ledger = host.ledger();
    let locked = ledger.lock(host.config.lock_timeout())?;
    let mut record = ledger.record(id)?;
    match &record.holder {
        // Shared by the containers that name it, or by those of a pod.
        Holder::Named | Holder::Pod { .. } => {
            members::join(&ledger.slice_dir(id), process, claim.container)?;
            return Ok(record);
        }
        Holder::Container {
            container,
            process: first,
        } if container != claim.container || *first != process => {
            return Err(LifecycleError::Claimed {
                id: id.to_owned(),
                container: container.clone(),
            });
        }
        Holder::Container { .. } | Holder::Placed { .. } => {}
    }
    record.holder = Holder::Container {
        container: claim.container.to_owned(),
        process,
    };
    locked.rewrite(&record)?;
    Ok(record)
}

/// Lets a container's slice go and lends others what it leaves. A person's slice stays, and so do a pod's and one that
/// another container holds. Says whether a slice went.
pub fn release(host: &Host, id: &str, container: Option<&str>) -> Result<bool, LifecycleError> {
    let ledger = host.ledger();
    let locked = ledger.lock(host.config.lock_timeout())?;
    let record = match ledger.record(id) {
        Ok(record) => record,
        Err(LedgerError::NoSlice(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let goes = match &record.holder {
        Holder::Named | Holder::Pod { .. } => false,
        Holder::Placed { .. } => true,
        Holder::Container { container: mine, .. } => container.is_none_or(|container| container == mine),
    };
    if goes {
        remove(host, &locked, &record)?;
    }
    Ok(goes)
}

/// Removes a slice that a person no longer wants. One that programs use stays: its memory would be given twice.
pub fn delete(host: &Host, id: &str) -> Result<(), LifecycleError> {
    let ledger = host.ledger();
    let locked = ledger.lock(host.config.lock_timeout())?;
    match ledger.record(id) {
        Ok(record) => {
            check_unused(&ledger, &record)?;
            locked.end(&record)?;
        }
        // What cannot be understood can only be removed, and not while somebody is in it.
        Err(LedgerError::Record { .. }) => {
            let named = ledger.processes_named_in(id);
            if let Some(process) = named.iter().find(|process| process.is_alive()) {
                return Err(in_use(id, format!("process {}", process.pid)));
            }
            check_nobody_in(&ledger, id)?;
            locked.remove(id)?;
        }
        Err(error) => return Err(error.into()),
    }
    lend_what_is_left(host, &locked)
}

fn in_use(id: &str, by: String) -> LifecycleError {
    LifecycleError::InUse {
        id: id.to_owned(),
        by,
    }
}

fn check_unused(ledger: &Ledger, record: &SliceRecord) -> Result<(), LifecycleError> {
    if let Holder::Container { container, process } = &record.holder
        && process.is_alive()
    {
        return Err(in_use(&record.id, format!("container {container}")));
    }
    if let Holder::Pod { pod, process, .. } = &record.holder
        && process.is_some_and(|process| process.is_alive())
    {
        return Err(in_use(&record.id, format!("pod {pod}")));
    }
    check_nobody_in(ledger, &record.id)
}

/// Looks at what says beside the record that somebody is in a slice.
fn check_nobody_in(ledger: &Ledger, id: &str) -> Result<(), LifecycleError> {
    let directory = ledger.slice_dir(id);
    // A container that has joined and runs no GPU program yet still has the limits of a slice that would be gone.
    if let Some(container) = members::living(&directory)?.first() {
        return Err(in_use(id, format!("container {container}")));
    }
    match usage::living(&directory)? {
        0 => Ok(()),
        count => Err(in_use(id, format!("{count} running process(es)"))),
    }
}

pub(super) fn remove(host: &Host, locked: &Locked<'_>, record: &SliceRecord) -> Result<(), LifecycleError> {
    locked.end(record)?;
    lend_what_is_left(host, locked)
}

fn lend_what_is_left(host: &Host, locked: &Locked<'_>) -> Result<(), LifecycleError> {
    rebalance(host, locked, locked.ledger().records()?, false)
}

/// Removes what is over and what killed commands left, and puts all limits right. Says which slices went.
pub fn reap(host: &Host) -> Result<Vec<String>, LifecycleError> {
    let ledger = host.ledger();
    let locked = ledger.lock(host.config.lock_timeout())?;
    let before: HashSet<String> = ledger.records()?.into_iter().map(|record| record.id).collect();
    let kept = remaining(host, &locked)?.kept;
    let mut gone: Vec<String> = before
        .into_iter()
        .filter(|id| kept.iter().all(|record| record.id != *id))
        .collect();
    gone.sort_unstable();
    kernel_memory::settle_all(host, &kept);
    rebalance(host, &locked, kept, true)?;
    Ok(gone)
}
