//! The kernel's figures, slice by slice.

use std::collections::BTreeMap;
use std::fs;

use sdg::files::FileError;
use sdg::host::Host;
use sdg::ledger::pages::{self, LimitsFile, PageError, SlotUse};
use sdg::ledger::record::SliceRecord;
use sdg::ledger::store::{Ledger, LedgerError};
use sdg::sys::Access;

use super::verdict::{GpuLimit, Process};
use crate::figures::Figures;
use crate::guard::masked;
use crate::membership::Membership;

/// Why nothing was seen.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A slice with its processes.
#[derive(Debug)]
pub struct Seen {
    /// Its id.
    pub slice: String,
    /// A GPU each.
    pub limits: Vec<GpuLimit>,
    /// Those that have the KFD open.
    pub processes: Vec<Process>,
}

/// All slices that have processes on a GPU.
pub fn look(host: &Host, figures: &Figures) -> Result<Vec<Seen>, LookError> {
    let pids = figures.processes();
    if pids.is_empty() {
        return Ok(Vec::new());
    }
    let ledger = host.ledger();
    let records = ledger.records()?;
    let membership = Membership::of(&ledger, &records)?;
    let mut by_slice: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for pid in pids {
        if let Some(slice) = membership.slice_of(pid) {
            by_slice.entry(slice).or_default().push(pid);
        }
    }
    let mut seen = Vec::new();
    for record in &records {
        let Some(pids) = by_slice.get(record.id.as_str()) else {
            continue;
        };
        match look_at(&ledger, record, (figures, pids)) {
            Ok(slice) => seen.push(slice),
            // Gone since its record was read, or for `sdg slice list` to complain of.
            Err(error) => tracing::debug!(slice = record.id, %error, "watchdog: not looked at"),
        }
    }
    Ok(seen)
}

fn look_at(
    ledger: &Ledger,
    record: &SliceRecord,
    (figures, pids): (&Figures, &[i32]),
) -> Result<Seen, PageError> {
    let directory = ledger.slice_dir(&record.id);
    let in_force = LimitsFile::open(&directory, Access::Read)?.read()?;
    let limits: Vec<GpuLimit> = in_force
        .iter()
        .map(|limits| GpuLimit {
            memory: limits.memory_limit,
            is_masked: !limits.mask.is_empty(),
        })
        .collect();
    let slots = pages::read_slots(&directory, limits.len()).unwrap_or_default();
    let gpu_ids: Vec<u32> = record.gpus.iter().map(|grant| grant.gpu_id).collect();
    let processes = pids
        .iter()
        .map(|pid| process(*pid, figures, (&gpu_ids, &limits, &slots)))
        .collect();
    Ok(Seen {
        slice: record.id.clone(),
        limits,
        processes,
    })
}

fn process(
    pid: i32,
    figures: &Figures,
    (gpu_ids, limits, slots): (&[u32], &[GpuLimit], &[SlotUse]),
) -> Process {
    let inner = inner_pid(pid);
    let own: Vec<&SlotUse> = slots.iter().filter(|slot| Some(slot.pid) == inner).collect();
    let admitted = |gpu: usize| {
        own.iter()
            .map(|slot| slot.used.get(gpu).copied().unwrap_or(0))
            .fold(0, u64::saturating_add)
    };
    let masked_gpus: Vec<u32> = gpu_ids
        .iter()
        .zip(limits)
        .filter(|(_, limit)| limit.is_masked)
        .map(|(gpu_id, _)| *gpu_id)
        .collect();
    let queues: Vec<u32> = figures
        .queues(pid)
        .iter()
        .filter(|queue| queue.is_compute && masked_gpus.contains(&queue.gpu_id))
        .map(|queue| queue.id)
        .collect();
    let masked = match masked::of(pid) {
        Some(masked) => queues.iter().filter(|queue| masked.contains(queue)).count() as u32,
        None => own
            .iter()
            .map(|slot| slot.masked_queues)
            .fold(0, u32::saturating_add),
    };
    Process {
        pid,
        vram: gpu_ids.iter().map(|gpu_id| figures.vram(pid, *gpu_id)).collect(),
        admitted: (0..gpu_ids.len()).map(admitted).collect(),
        unmasked_queues: (queues.len() as u32).saturating_sub(masked),
    }
}

/// The pid by which a process knows itself. Source: proc_pid_status(5), NSpid.
fn inner_pid(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = sdg_notify::caller::status_field(&status, "NSpid:")?;
    pids.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_queues(count: usize) -> (tempfile::TempDir, Figures, i32) {
        let pid = std::process::id() as i32;
        let root = tempfile::tempdir().unwrap();
        for queue in 0..count {
            let queue = root
                .path()
                .join(format!("sys/class/kfd/kfd/proc/{pid}/queues/{queue}"));
            fs::create_dir_all(&queue).unwrap();
            fs::write(queue.join("gpuid"), "9").unwrap();
            fs::write(queue.join("type"), "0").unwrap();
        }
        let figures = Figures::below(root.path());
        (root, figures, pid)
    }

    #[test]
    fn queues_beyond_those_that_a_shim_masked_are_unmasked() {
        let (_root, figures, pid) = with_queues(3);
        let limit = |is_masked| GpuLimit { memory: 1, is_masked };
        let slot = SlotUse {
            pid: inner_pid(pid).unwrap(),
            masked_queues: 2,
            acknowledged: 1,
            used: vec![7],
        };
        let seen = process(pid, &figures, (&[9], &[limit(true)], std::slice::from_ref(&slot)));
        assert_eq!((seen.unmasked_queues, seen.admitted.as_slice()), (1, &[7][..]));
        let of_another = SlotUse { pid: 1 << 30, ..slot };
        let seen = process(pid, &figures, (&[9], &[limit(true)], &[of_another]));
        assert_eq!((seen.unmasked_queues, seen.admitted.as_slice()), (3, &[0][..]));
        let seen = process(pid, &figures, (&[9], &[limit(false)], &[]));
        assert_eq!(seen.unmasked_queues, 0, "a whole GPU has no mask");
    }
}
