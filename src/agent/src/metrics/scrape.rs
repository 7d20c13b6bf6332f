//! All that is read for one answer.

use sdg::counters::Counters;
use sdg::files::FileError;
use sdg::host::Host;
use sdg::inventory::Detail;
use sdg::snapshot::{Snapshot, SnapshotError};

use super::board::{Board, Boards};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The node.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What hooks counted.
    #[error(transparent)]
    Counters(#[from] FileError),
}

/// A node at the time of a scrape.
#[derive(Debug)]
pub struct Scrape {
    /// GPUs and slices.
    pub snapshot: Snapshot,
    /// What hooks counted.
    pub counters: Counters,
    /// The boards' own figures, in the order of the GPUs.
    pub boards: Vec<Board>,
}

impl Scrape {
    /// Reads everything.
    pub fn read(host: &Host, boards: &Boards) -> Result<Self, ScrapeError> {
        let snapshot = Snapshot::read(host, Detail::Full)?;
        let gpus = snapshot.inventory.gpus.iter();
        Ok(Self {
            boards: gpus.map(|gpu| boards.read(&host.sysroot, gpu)).collect(),
            counters: Counters::open(&host.state)?,
            snapshot,
        })
    }
}
