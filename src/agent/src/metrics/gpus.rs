//! Metrics of GPUs.

use std::fmt;

use sdg::inventory::Gpu;
use sdg::snapshot::Snapshot;
use sdg::snapshot::sums::MemorySums;

use super::encode::{Family, Labels, Writer};

/// A figure of a GPU's memory: its family, and where it is.
type Figure = (Family, fn(&MemorySums) -> u64);

const MEMORY: [Figure; 6] = [
    (
        Family(
            "gpu_memory_capacity_bytes",
            "Memory of the GPU that slices may have together",
        ),
        |memory| memory.capacity,
    ),
    (
        Family("gpu_memory_guaranteed_bytes", "Memory guaranteed to slices"),
        |memory| memory.guaranteed,
    ),
    (
        Family(
            "gpu_memory_lent_bytes",
            "Memory lent to slices beyond their guarantees, in use or not",
        ),
        |memory| memory.lent,
    ),
    (
        Family(
            "gpu_memory_lent_used_bytes",
            "Memory that slices use beyond their guarantees",
        ),
        |memory| memory.lent_used,
    ),
    (
        Family("gpu_memory_used_bytes", "Memory that slices use"),
        |memory| memory.used,
    ),
    (
        Family("gpu_memory_free_bytes", "Memory that a new guarantee could have"),
        |memory| memory.free,
    ),
];

/// The label that says which GPU.
pub fn label(gpu: &Gpu) -> Labels {
    vec![("gpu", gpu.index.to_string())]
}

/// Writes them.
pub fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let gpus = &snapshot.inventory.gpus;
    writer.gauges(
        Family("gpu_info", "Which GPU an index stands for"),
        gpus.iter().map(|gpu| (identity(gpu), 1u64)),
    )?;
    for (family, figure) in MEMORY {
        let values = gpus
            .iter()
            .map(|gpu| (label(gpu), figure(&snapshot.memory_of(gpu))));
        writer.gauges(family, values)?;
    }
    writer.gauges(
        Family(
            "gpu_compute_units",
            "Compute units of the GPU by state: with a guarantee, lent to slices without one, idle",
        ),
        gpus.iter().flat_map(|gpu| units(snapshot, gpu)),
    )
}

fn identity(gpu: &Gpu) -> Labels {
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_default();
    let mut labels = label(gpu);
    labels.extend([
        ("uuid", gpu.uuid.clone()),
        ("name", gpu.name.clone()),
        ("pci", gpu.pci.to_string()),
        ("compute_partition", mode(&gpu.compute_partition)),
        ("memory_partition", mode(&gpu.memory_partition)),
    ]);
    labels
}

fn units(snapshot: &Snapshot, gpu: &Gpu) -> [(Labels, u32); 3] {
    let units = snapshot.units_of(gpu);
    [
        ("guaranteed", units.guaranteed),
        ("lent", units.lent),
        ("idle", units.idle),
    ]
    .map(|(state, count)| {
        let mut labels = label(gpu);
        labels.push(("state", state.to_owned()));
        (labels, count)
    })
}
