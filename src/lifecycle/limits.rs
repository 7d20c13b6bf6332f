//! What is to be in force for each slice: guarantee plus what is lent. Planned purely; `in_force.rs` writes it down.
//!
//! ```text
//! GPUs, slices with what they use → [InForce] for each slice
//! ```

use std::collections::{HashMap, HashSet};

use crate::inventory::{Gpu, Inventory};
use crate::ledger::pages::{InForce, PageError};
use crate::ledger::record::SliceRecord;
use crate::ledger::store::Ledger;
use crate::ledger::usage;
use crate::placement::lending::{MemoryHolding, compute_masks, memory_limits};
use crate::placement::{GpuGrant, Rules, Taken};
use crate::units::Bytes;

/// A slice with what it uses.
#[derive(Clone, Debug)]
pub struct SliceUse {
    /// Its record.
    pub record: SliceRecord,
    /// Bytes in use on each of its GPUs; empty: not looked at, since what it may use is what it is guaranteed.
    pub used: Vec<u64>,
}

impl SliceUse {
    /// As placement sees it.
    pub fn taken(&self) -> Taken<'_> {
        Taken {
            id: &self.record.id,
            name: self.record.name.as_deref(),
            request: &self.record.request,
            grants: &self.record.gpus,
            used: &self.used,
        }
    }

    /// Whether another slice's coming or going changes its limits.
    pub(super) fn is_elastic(&self) -> bool {
        self.record.gpus.iter().any(|grant| {
            let memory = grant.memory_limit_bytes > grant.memory_bytes;
            let compute = grant.rect.is_none() || grant.compute_limit_units > grant.compute_units;
            !grant.exclusive && (memory || compute)
        })
    }

    /// Whether it may use memory beyond its guarantee.
    pub(super) fn borrows(&self) -> bool {
        let mut grants = self.record.gpus.iter();
        grants.any(|grant| grant.memory_limit_bytes > grant.memory_bytes)
    }

    /// What a person calls it.
    pub fn label(&self) -> &str {
        self.record.name.as_deref().unwrap_or(&self.record.id)
    }

    pub(super) fn is_on(&self, gpus: &HashSet<&str>) -> bool {
        self.record
            .gpus
            .iter()
            .any(|grant| gpus.contains(grant.uuid.as_str()))
    }
}

/// Adds to records what the slices use, where it matters: for those that may use more than their guarantee.
pub fn with_usage(ledger: &Ledger, records: Vec<SliceRecord>) -> Result<Vec<SliceUse>, PageError> {
    let slices = records.into_iter().map(|record| SliceUse {
        record,
        used: Vec::new(),
    });
    let mut slices: Vec<SliceUse> = slices.collect();
    refresh(ledger, &mut slices)?;
    Ok(slices)
}

/// Looks again at what the slices use.
pub fn refresh(ledger: &Ledger, slices: &mut [SliceUse]) -> Result<(), PageError> {
    for slice in slices.iter_mut().filter(|slice| slice.borrows()) {
        let directory = ledger.slice_dir(&slice.record.id);
        slice.used = usage::read(&directory, &slice.record.gpus)?.used;
    }
    Ok(())
}

/// Limits of every slice, a GPU each in the order of its grants; none for a GPU that is not given (perhaps it
/// could not be read this time, and its slices keep what they have). Slices come oldest first. A placement plans only
/// the GPUs that it touches.
pub fn plan<'a>(
    gpus: impl IntoIterator<Item = &'a Gpu>,
    slices: &[SliceUse],
    rules: &Rules,
) -> Vec<Vec<Option<InForce>>> {
    let mut planned: Vec<Vec<Option<InForce>>> = slices
        .iter()
        .map(|slice| vec![None; slice.record.gpus.len()])
        .collect();
    let gpus: Vec<&Gpu> = gpus.into_iter().collect();
    let mut on_gpus: Vec<Vec<(usize, usize)>> = vec![Vec::new(); gpus.len()];
    for (slice, entry) in slices.iter().enumerate() {
        for (position, grant) in entry.record.gpus.iter().enumerate() {
            let places = grant.position_in(&gpus);
            if let Some(places) = places.and_then(|at| on_gpus.get_mut(at)) {
                places.push((slice, position));
            }
        }
    }
    for (gpu, places) in gpus.into_iter().zip(on_gpus) {
        let grant = |&(slice, position): &(usize, usize)| {
            let entry = slices.get(slice)?;
            Some((
                entry.record.gpus.get(position)?,
                entry.used.get(position).copied().unwrap_or(0),
            ))
        };
        let held: Vec<(&GpuGrant, u64)> = places.iter().filter_map(grant).collect();
        let holdings: Vec<MemoryHolding> = held
            .iter()
            .map(|(grant, used)| MemoryHolding {
                guarantee: grant.memory_bytes,
                limit: grant.memory_limit_bytes,
                used: *used,
            })
            .collect();
        let capacity = gpu.memory_bytes.saturating_sub(rules.reserved_bytes);
        let grants: Vec<&GpuGrant> = held.iter().map(|(grant, _)| *grant).collect();
        let limits = memory_limits(capacity, &holdings);
        let masks = compute_masks(&gpu.grid, &grants);
        for ((slice, position), (memory_limit, mask)) in places.iter().zip(limits.into_iter().zip(masks)) {
            if let Some(place) = planned.get_mut(*slice).and_then(|slice| slice.get_mut(*position)) {
                *place = Some(InForce { memory_limit, mask });
            }
        }
    }
    planned
}

/// Whether guarantees and lent memory in use still fit each of these GPUs.
pub fn fits(inventory: &Inventory, slices: &[SliceUse], rules: &Rules) -> bool {
    // One look at each slice, not one for each GPU: there are hundreds of slices on dozens of GPUs.
    let mut taken: HashMap<&str, (u64, bool)> = HashMap::new();
    for slice in slices {
        for (position, grant) in slice.record.gpus.iter().enumerate() {
            let (held, exclusive) = taken.entry(&grant.uuid).or_default();
            *held = held.saturating_add(holding(slice, position, grant).held());
            *exclusive |= grant.exclusive;
        }
    }
    inventory.gpus.iter().all(|gpu| {
        let capacity = gpu.memory_bytes.saturating_sub(rules.reserved_bytes);
        let (held, exclusive) = taken.get(gpu.uuid.as_str()).copied().unwrap_or_default();
        exclusive || held <= capacity
    })
}

/// Bytes of a GPU that slices hold: guarantees, or more where lent memory is in use.
pub fn held(uuid: &str, slices: &[SliceUse]) -> u64 {
    slices
        .iter()
        .flat_map(|slice| holdings(uuid, slice))
        .map(|holding| holding.held())
        .fold(0, u64::saturating_add)
}

/// Who uses lent memory of a GPU, as the end of a sentence; empty where nobody does.
pub fn borrowers(uuid: &str, slices: &[SliceUse]) -> String {
    let lent = |slice| {
        holdings(uuid, slice)
            .map(|holding| holding.held() - holding.guarantee)
            .sum::<u64>()
    };
    let mut text = String::new();
    for (slice, bytes) in slices.iter().map(|slice| (slice, lent(slice))) {
        if bytes > 0 {
            let lead = if text.is_empty() {
                ", where above their guarantee "
            } else {
                ", "
            };
            text.push_str(&format!("{lead}{} uses {}", slice.label(), Bytes(bytes)));
        }
    }
    text
}

/// What a slice holds of a GPU.
fn holdings(uuid: &str, slice: &SliceUse) -> impl Iterator<Item = MemoryHolding> {
    let grants = slice.record.gpus.iter().enumerate();
    grants
        .filter(move |(_, grant)| grant.uuid == uuid)
        .map(|(position, grant)| holding(slice, position, grant))
}

fn holding(slice: &SliceUse, position: usize, grant: &GpuGrant) -> MemoryHolding {
    MemoryHolding {
        guarantee: grant.memory_bytes,
        limit: grant.memory_limit_bytes,
        used: slice.used.get(position).copied().unwrap_or(0),
    }
}
