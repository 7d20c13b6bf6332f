//! A node at one moment: its GPUs, its slices, what is in force for them and what they use. What listings, `sdg top` and
//! the metrics are made from.
//!
//! ```text
//! sysfs, records, pages → Snapshot ─(sums.rs, pure)→ what each GPU has given, lent and left
//! ```

#[cfg(test)]
pub mod fixtures;
pub mod sums;

use crate::broker::client;
use crate::host::Host;
use crate::inventory::{Detail, Inventory, InventoryError};
use crate::ledger::pages::{self, InForce, LimitsFile, PageError, Usage};
use crate::ledger::record::{Holder, SliceRecord};
use crate::ledger::store::{Ledger, LedgerError};
use crate::sys::Access;

/// Why a node could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// GPUs.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Records.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Pages.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// What a slice's pages say; empty where they were not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// In force, a GPU each.
    pub in_force: Vec<InForce>,
    /// What its processes hold.
    pub usage: Usage,
}

impl Live {
    /// Reads the pages of a slice; none where the slice is gone.
    pub fn read(ledger: &Ledger, record: &SliceRecord) -> Result<Option<Self>, PageError> {
        let directory = ledger.slice_dir(&record.id);
        let read = || -> Result<Self, PageError> {
            Ok(Self {
                in_force: LimitsFile::open(&directory, Access::Read)?.read()?,
                usage: pages::read_usage(&directory, &record.gpus)?,
            })
        };
        match read() {
            Ok(live) => Ok(Some(live)),
            Err(_) if !directory.exists() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How far a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceState {
    /// Made for a container that has not started yet.
    Placed,
    /// Its container runs, or its pod.
    Running,
    /// Its container is gone; the next reap removes it.
    Ended,
    /// Made by a person; stays until deleted.
    Named,
}

impl SliceState {
    /// All.
    pub const ALL: [Self; 4] = [Self::Placed, Self::Running, Self::Ended, Self::Named];

    /// Asks whether the container's process lives.
    pub fn of(record: &SliceRecord) -> Self {
        match &record.holder {
            Holder::Placed { .. } => Self::Placed,
            Holder::Named => Self::Named,
            Holder::Container { process, .. } if process.is_alive() => Self::Running,
            Holder::Pod { process, .. } if process.is_none_or(|process| process.is_alive()) => Self::Running,
            Holder::Container { .. } | Holder::Pod { .. } => Self::Ended,
        }
    }

    /// As listings say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Named => "named",
        }
    }
}

/// A slice now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceNow {
    /// Its record.
    pub record: SliceRecord,
    /// Its pages.
    pub live: Live,
    /// How far it is.
    pub state: SliceState,
}

/// A node now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// GPUs.
    pub inventory: Inventory,
    /// Slices, oldest first.
    pub slices: Vec<SliceNow>,
    /// Bytes of each GPU that no slice gets.
    pub reserved_bytes: u64,
}

impl Snapshot {
    /// Looks at a node, without the ledger's lock.
    pub fn read(host: &Host, detail: Detail) -> Result<Self, SnapshotError> {
        let ledger = host.ledger();
        let mut slices = Vec::new();
        for record in client::visible_records(host)? {
            // A slice may go away while we look: then it is no longer there.
            if let Some(live) = Live::read(&ledger, &record)? {
                let state = SliceState::of(&record);
                slices.push(SliceNow { record, live, state });
            }
        }
        Ok(Self {
            inventory: host.inventory(detail)?,
            slices,
            reserved_bytes: host.config.reserved_memory,
        })
    }
}
