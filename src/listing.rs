//! GPUs and slices as listings show them: JSON for programs, tables for people. Fields are added, never renamed.

pub mod ended;

use serde::Serialize;

use crate::compute::grid::CuGrid;
use crate::inventory::{Gpu, Inventory, Offer};
use crate::ledger::record::{Holder, SliceRecord};
use crate::sizing::History;
use crate::snapshot::{Live, SliceState};

/// A GPU of `sdg gpu list --json`.
#[derive(Clone, Debug, Serialize)]
pub struct GpuEntry<'a> {
    /// Position in the inventory.
    pub index: u32,
    /// Identity.
    pub uuid: &'a str,
    /// Marketing or chip name.
    pub name: &'a str,
    /// PCI address of the card.
    pub pci: String,
    /// The KFD's gpu_id.
    pub gpu_id: u32,
    /// Device file.
    pub render_node: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Compute units that work, on all XCCs.
    pub compute_units: u32,
    /// XCCs.
    pub xcc: u32,
    /// Shader engines of each XCC.
    pub shader_engines: u32,
    /// SPX … CPX.
    pub compute_partition: Option<&'a str>,
    /// NPS1 … NPS4.
    pub memory_partition: Option<&'a str>,
    /// NUMA node of the card.
    pub numa_node: Option<u32>,
    /// What a compute queue takes of the memory, in bytes.
    pub compute_queue_bytes: u64,
    /// The least useful slice, in bytes.
    pub least_useful_bytes: u64,
    /// Part of a processor.
    pub integrated: bool,
    /// Which requests get slices of it: `any`, `named` (those that name it), `nobody`.
    pub offered_to: Offer,
}

impl<'a> GpuEntry<'a> {
    /// A GPU of an inventory.
    pub fn new(gpu: &'a Gpu, inventory: &Inventory) -> Self {
        Self {
            index: gpu.index,
            uuid: &gpu.uuid,
            name: &gpu.name,
            pci: gpu.pci.to_string(),
            gpu_id: gpu.gpu_id,
            render_node: format!("/dev/dri/renderD{}", gpu.render_minor),
            memory_bytes: gpu.memory_bytes,
            compute_units: gpu.grid.active_units,
            xcc: gpu.grid.xccs,
            shader_engines: gpu.grid.engines,
            compute_partition: gpu.compute_partition.as_deref(),
            memory_partition: gpu.memory_partition.as_deref(),
            numa_node: gpu.numa_node,
            compute_queue_bytes: gpu.needs.queue,
            least_useful_bytes: gpu.needs.least_useful(),
            integrated: gpu.integrated,
            offered_to: inventory.offer(gpu),
        }
    }
}

/// A slice of `sdg slice list --json`.
#[derive(Clone, Debug, Serialize)]
pub struct SliceEntry<'a> {
    /// Id.
    pub id: &'a str,
    /// A person's name for it.
    pub name: Option<&'a str>,
    /// `placed`, `running`, `named`; `ended` where the container is gone and the next reap removes the slice.
    pub state: &'static str,
    /// The container that holds it, or the pod: `namespace/name`.
    pub container: Option<&'a str>,
    /// The container's first process.
    pub pid: Option<i32>,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// The ordinary user whose it is; absent: root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Layers that hold.
    pub enforcement: &'a [String],
    /// Its parts of GPUs.
    pub gpus: Vec<SliceGpuEntry<'a>>,
    /// Highest use of any one GPU until now, in bytes.
    pub peak_memory_bytes: u64,
    /// Allocations refused for the slice's limit until now.
    pub refused_allocations: u64,
    /// Memory that would have been enough until now, in bytes; none where nothing was used or an allocation was refused.
    pub suggested_memory_bytes: Option<u64>,
}

/// A slice's part of one GPU.
#[derive(Clone, Debug, Serialize)]
pub struct SliceGpuEntry<'a> {
    /// Position in the inventory at placement.
    pub index: u32,
    /// The GPU.
    pub uuid: &'a str,
    /// Memory guaranteed, in bytes.
    pub memory_bytes: u64,
    /// Memory never exceeded, in bytes.
    pub memory_limit_bytes: u64,
    /// What of the limit can be had now, in bytes: guarantee plus what is lent.
    pub memory_available_bytes: u64,
    /// Memory in use, in bytes; none where it cannot be read.
    pub memory_used_bytes: Option<u64>,
    /// Compute units asked for.
    pub requested_units: u32,
    /// Compute units guaranteed.
    pub compute_units: u32,
    /// Ceiling in compute units.
    pub compute_limit_units: u32,
    /// What the mask in force delivers by the model.
    pub effective_units: u32,
    /// The mask in force, lowest bits first; empty: none.
    pub cu_mask: Vec<u32>,
}

impl<'a> SliceEntry<'a> {
    /// From the record, with what is in force now.
    pub fn new(record: &'a SliceRecord, live: &Live, inventory: &Inventory) -> Self {
        let process = match &record.holder {
            Holder::Placed { .. } | Holder::Named => None,
            Holder::Container { process, .. } => Some(process),
            Holder::Pod { process, .. } => process.as_ref(),
        };
        Self {
            id: &record.id,
            name: record.name.as_deref(),
            state: SliceState::of(record).name(),
            container: record.holder.container(),
            pid: process.map(|process| process.pid),
            created: record.created,
            user: record.user,
            enforcement: &record.enforcement,
            gpus: gpu_entries(record, live, inventory),
            peak_memory_bytes: live.usage.peak,
            refused_allocations: live.usage.refused,
            suggested_memory_bytes: history(record, live).suggestion(),
        }
    }
}

/// What a slice that is there has needed until now.
pub fn history(record: &SliceRecord, live: &Live) -> History {
    History {
        peak: live.usage.peak,
        limit: record.gpus.first().map_or(0, |grant| grant.memory_limit_bytes),
        refused: live.usage.refused,
    }
}

fn gpu_entries<'a>(record: &'a SliceRecord, live: &Live, inventory: &Inventory) -> Vec<SliceGpuEntry<'a>> {
    let grid = |uuid: &str| -> Option<&CuGrid> {
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == uuid)?;
        Some(&gpu.grid)
    };
    let grants = record.gpus.iter().enumerate();
    grants
        .map(|(position, grant)| {
            let in_force = live.in_force.get(position);
            let mask = in_force.map_or(&grant.cu_mask, |in_force| &in_force.mask);
            let effective = match grid(&grant.uuid) {
                Some(grid) if !mask.is_empty() => grid.effective_units(mask),
                _ => grant.effective_units,
            };
            SliceGpuEntry {
                index: grant.index,
                uuid: &grant.uuid,
                memory_bytes: grant.memory_bytes,
                memory_limit_bytes: grant.memory_limit_bytes,
                memory_available_bytes: in_force
                    .map_or(grant.memory_limit_bytes, |in_force| in_force.memory_limit),
                memory_used_bytes: live.usage.used.get(position).copied(),
                requested_units: grant.requested_units,
                compute_units: grant.compute_units,
                compute_limit_units: grant.compute_limit_units,
                effective_units: effective,
                cu_mask: mask.words().to_vec(),
            }
        })
        .collect()
}

/// A table with a heading, columns as wide as their widest cell, two blanks between them.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_wide_as_their_cells() {
        let rows = [
            vec!["a".to_owned(), "long cell".to_owned()],
            vec!["bb".to_owned(), "c".to_owned()],
        ];
        assert_eq!(table(&["X", "Y"], &rows), "X   Y\na   long cell\nbb  c\n");
    }
}
