//! Slices of Kubernetes pods: found, given back when the pod ends, and put right after the agent was away.
//!
//! ```text
//! sandbox ─ has a slice ──────────→ its edits, for every container of the pod and every restart
//!         └ first container, place → a slice that lasts as long as the sandbox, or its last container
//! ```

use std::collections::HashSet;

use crate::host::Host;
use crate::ledger::members;
use crate::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use crate::ledger::store::{LedgerError, Locked};
use crate::lifecycle::change::remove;
use crate::lifecycle::{LifecycleError, Placed, place};

/// The slice of a pod, by the id of its sandbox. Reads without the lock.
pub fn slice_of(host: &Host, sandbox: &str) -> Result<Option<Placed>, LifecycleError> {
    let ledger = host.ledger();
    let records = ledger.records()?;
    let Some(record) = records.into_iter().find(|record| is_of(record, sandbox)) else {
        return Ok(None);
    };
    let edits = place::read_edits(&ledger, &record.id)?;
    Ok(Some(Placed {
        record,
        edits,
        unanswered: Vec::new(),
    }))
}

/// The slice that a pod has already which is about to get one.
pub(super) fn held_by_same<'a>(records: &'a [SliceRecord], holder: &Holder) -> Option<&'a SliceRecord> {
    match holder {
        Holder::Pod { sandbox, .. } => records.iter().find(|record| is_of(record, sandbox)),
        _ => None,
    }
}

fn is_of(record: &SliceRecord, pod: &str) -> bool {
    matches!(&record.holder, Holder::Pod { sandbox, .. } if sandbox == pod)
}

/// Writes down that a container of a pod runs, as its hook does when it starts. A container that has ended meanwhile
/// is none.
pub fn join(host: &Host, slice: &str, container: &str, pid: i32) -> Result<(), LifecycleError> {
    let Some(process) = ProcessIdentity::of(pid).ok().flatten() else {
        return Ok(());
    };
    let ledger = host.ledger();
    let _locked = ledger.lock(host.config.lock_timeout())?;
    let record = ledger.record(slice)?;
    Ok(members::join(&ledger.slice_dir(&record.id), process, container)?)
}

/// Lets the slice of a pod that ends go. While one of its containers runs it stays: what it holds would be given
/// twice. The reap removes it when that container is gone.
pub fn release(host: &Host, sandbox: &str) -> Result<Vec<String>, LifecycleError> {
    release_those(host, |record| is_of(record, sandbox))
}

/// Lets slices go whose pods are gone: all that are not among the sandboxes that the runtime knows. A pod whose first
/// process runs belongs to another runtime.
pub fn release_others(host: &Host, sandboxes: &HashSet<&str>) -> Result<Vec<String>, LifecycleError> {
    release_those(host, |record| match &record.holder {
        Holder::Pod { sandbox, process, .. } => {
            !sandboxes.contains(sandbox.as_str()) && !process.is_some_and(|process| process.is_alive())
        }
        _ => false,
    })
}

fn release_those(host: &Host, goes: impl Fn(&SliceRecord) -> bool) -> Result<Vec<String>, LifecycleError> {
    let ledger = host.ledger();
    // Most pods have no slice: they need no lock.
    if !ledger.records()?.iter().any(&goes) {
        return Ok(Vec::new());
    }
    let locked = ledger.lock(host.config.lock_timeout())?;
    let mut gone = Vec::new();
    for record in ledger.records()?.into_iter().filter(|record| goes(record)) {
        if !is_used(&locked, &record)? {
            remove(host, &locked, &record)?;
            gone.push(record.id);
        }
    }
    Ok(gone)
}

fn is_used(locked: &Locked<'_>, record: &SliceRecord) -> Result<bool, LedgerError> {
    let members = members::living(&locked.ledger().slice_dir(&record.id))?;
    Ok(!members.is_empty())
}
