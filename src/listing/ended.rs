//! Slices that are over, as listings show them. The fields that a slice that is there has as well have the same names.

use serde::Serialize;

use super::table;
use crate::ledger::history::Ended;
use crate::ledger::record::short_name;
use crate::sizing::History;
use crate::units::{Bytes, span};

/// A slice of `sdg slice history --json`.
#[derive(Clone, Debug, Serialize)]
pub struct EndedEntry<'a> {
    /// Id.
    pub id: &'a str,
    /// A person's name for it.
    pub name: Option<&'a str>,
    /// `ended`.
    pub state: &'static str,
    /// The container that held it, or the pod: `namespace/name`.
    pub container: Option<&'a str>,
    /// `namespace/pod/container`, where Kubernetes ran it.
    pub kubernetes: Option<&'a str>,
    /// The program that its container began with.
    pub program: Option<&'a str>,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// When it went, in seconds since the Unix epoch.
    pub ended: u64,
    /// Its parts of GPUs.
    pub gpus: Vec<EndedGpuEntry<'a>>,
    /// Highest use of any one GPU, in bytes; none where the container had spoiled the page that says so.
    pub peak_memory_bytes: Option<u64>,
    /// Allocations refused for the slice's limit; none likewise.
    pub refused_allocations: Option<u64>,
    /// Memory that would have been enough, in bytes; none where nothing was used or an allocation was refused.
    pub suggested_memory_bytes: Option<u64>,
}

/// The part of one GPU that a slice had.
#[derive(Clone, Debug, Serialize)]
pub struct EndedGpuEntry<'a> {
    /// Position in the inventory at placement.
    pub index: u32,
    /// The GPU.
    pub uuid: &'a str,
    /// Memory guaranteed, in bytes.
    pub memory_bytes: u64,
    /// Memory never exceeded, in bytes.
    pub memory_limit_bytes: u64,
    /// Compute units guaranteed.
    pub compute_units: u32,
}

impl<'a> From<&'a Ended> for EndedEntry<'a> {
    fn from(ended: &'a Ended) -> Self {
        let gpus = ended.gpus.iter().map(|gpu| EndedGpuEntry {
            index: gpu.index,
            uuid: &gpu.uuid,
            memory_bytes: ended.memory_bytes,
            memory_limit_bytes: ended.memory_limit_bytes,
            compute_units: ended.compute_units,
        });
        Self {
            id: &ended.id,
            name: ended.name.as_deref(),
            state: "ended",
            container: ended.container.as_deref(),
            kubernetes: ended.workload.kubernetes.as_deref(),
            program: ended.workload.program.as_deref(),
            created: ended.created,
            ended: ended.ended,
            gpus: gpus.collect(),
            peak_memory_bytes: ended.past.map(|past| past.peak_bytes),
            refused_allocations: ended.past.map(|past| past.refused),
            suggested_memory_bytes: history(ended).and_then(|history| history.suggestion()),
        }
    }
}

fn history(ended: &Ended) -> Option<History> {
    ended.past.map(|past| History {
        peak: past.peak_bytes,
        limit: ended.memory_limit_bytes,
        refused: past.refused,
    })
}

/// A line for people on what slices of one purpose needed, oldest first: the highest peak, beside the last one's limit.
pub fn advice(all: &[Ended]) -> Option<String> {
    let pasts: Vec<History> = all.iter().filter_map(history).collect();
    let sum = History {
        peak: pasts.iter().map(|past| past.peak).max()?,
        limit: pasts.last()?.limit,
        refused: pasts.last()?.refused,
    };
    sum.advice()
}

/// Slices that are over, for people.
pub fn ended_table(all: &[Ended], now: u64) -> String {
    let heading = [
        "SLICE",
        "NAME",
        "CONTAINER",
        "PROGRAM",
        "ENDED",
        "RAN",
        "GPUS",
        "MEMORY",
        "LIMIT",
        "PEAK",
        "REFUSED",
        "WOULD DO",
    ];
    let rows: Vec<Vec<String>> = all.iter().map(|ended| row(ended, now)).collect();
    table(&heading, &rows)
}

fn row(ended: &Ended, now: u64) -> Vec<String> {
    let entry = EndedEntry::from(ended);
    let name = entry.name.or(entry.kubernetes);
    let gpus: Vec<String> = entry.gpus.iter().map(|gpu| gpu.index.to_string()).collect();
    let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| Bytes(bytes).to_string());
    vec![
        entry.id.to_owned(),
        name.unwrap_or("-").to_owned(),
        entry.container.map_or("-", short_name).to_owned(),
        entry.program.unwrap_or("-").to_owned(),
        format!("{} ago", span(now.saturating_sub(ended.ended))),
        span(ended.ended.saturating_sub(ended.created)),
        gpus.join(","),
        bytes(Some(ended.memory_bytes)),
        bytes(Some(ended.memory_limit_bytes)),
        bytes(entry.peak_memory_bytes),
        entry
            .refused_allocations
            .map_or("-".to_owned(), |count| count.to_string()),
        bytes(entry.suggested_memory_bytes),
    ]
}
