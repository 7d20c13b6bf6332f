//! The kernel's limit of a slice's memory (dmem.rs), in the cgroups of the containers that have the slice.

use crate::dmem::{self, Outcome};
use crate::enforcement::DMEM;
use crate::host::Host;
use crate::inventory::Detail;
use crate::ledger::members;
use crate::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use crate::lifecycle::LifecycleError;

/// Puts a slice's limits in force for the container of a process. None: the kernel here cannot limit its GPUs.
pub fn limit(host: &Host, record: &SliceRecord, pid: i32) -> Result<Option<Outcome>, LifecycleError> {
    let root = host.cgroups();
    let regions = dmem::regions(&root);
    if regions.is_empty() {
        return Ok(None);
    }
    let inventory = host.inventory(Detail::Placement)?;
    let Some(limits) = dmem::limits(&record.gpus, &inventory, &regions) else {
        return Ok(None);
    };
    Ok(Some(dmem::put_in_force(&root, &dmem::of_process(pid)?, &limits)?))
}

/// Puts a slice's limits in force for all its containers that run. Says whether one of them uses more than it may now:
/// the kernel keeps its old limit then, and the next call tries again.
pub fn settle(host: &Host, record: &SliceRecord) -> Result<Outcome, LifecycleError> {
    let mut processes = members::living_processes(&host.ledger().slice_dir(&record.id))?;
    if let Holder::Container { process, .. } = &record.holder {
        processes.push(*process);
    }
    let mut outcome = Outcome::InForce;
    for process in processes
        .iter()
        .filter(|process| ProcessIdentity::is_alive(process))
    {
        if limit(host, record, process.pid)? == Some(Outcome::Busy) {
            outcome = Outcome::Busy;
        }
    }
    Ok(outcome)
}

/// Tries again what was busy. A container that ends meanwhile needs no limit, and what fails now the next reap tries.
pub(super) fn settle_all(host: &Host, records: &[SliceRecord]) {
    let limited = records
        .iter()
        .filter(|record| record.enforcement.iter().any(|layer| layer == DMEM));
    for record in limited {
        let _ = settle(host, record);
    }
}
