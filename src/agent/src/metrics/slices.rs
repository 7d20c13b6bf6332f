//! Metrics of slices. Their labels are bounded by the slices that are there now.

use std::fmt;

use sdg::compute::grid::CuGrid;
use sdg::ledger::record::Holder;
use sdg::snapshot::sums::Part;
use sdg::snapshot::{SliceNow, SliceState, Snapshot};

use super::encode::{Family, Labels, Writer};

/// A figure of a slice's memory on a GPU.
type MemoryFigure = (Family, fn(&Part<'_>) -> u64);
/// A figure of a slice's compute units on a GPU.
type UnitFigure = (Family, fn(&Part<'_>, &CuGrid) -> u32);
/// A figure of a slice.
type SliceFigure = (Family, fn(&SliceNow) -> u64);

const MEMORY: [MemoryFigure; 4] = [
    (
        Family(
            "slice_memory_guaranteed_bytes",
            "Memory guaranteed to the slice on a GPU",
        ),
        |part| part.grant.memory_bytes,
    ),
    (
        Family(
            "slice_memory_limit_bytes",
            "Memory that the slice never exceeds on a GPU",
        ),
        |part| part.grant.memory_limit_bytes,
    ),
    (
        Family(
            "slice_memory_available_bytes",
            "What of its limit the slice can have now: guarantee and what is lent",
        ),
        |part| part.available(),
    ),
    (
        Family("slice_memory_used_bytes", "Memory that the slice uses on a GPU"),
        |part| part.used,
    ),
];

const UNITS: [UnitFigure; 5] = [
    (
        Family(
            "slice_compute_units_guaranteed",
            "Compute units guaranteed to the slice on a GPU",
        ),
        |part, grid| part.guaranteed_units(grid).count(),
    ),
    (
        Family(
            "slice_compute_units_limit",
            "Compute units that the slice may have at most on a GPU",
        ),
        |part, _| part.grant.compute_limit_units,
    ),
    (
        Family(
            "slice_compute_units_in_force",
            "Compute units that the slice's queues run on now",
        ),
        |part, grid| part.units(grid).count(),
    ),
    (
        Family(
            "slice_compute_units_effective",
            "Compute units that the mask in force delivers by the model",
        ),
        |part, grid| grid.effective_units(&part.units(grid)),
    ),
    (
        Family(
            "slice_compute_units_throttled",
            "Compute units of its limit that the slice has to do without now",
        ),
        |part, grid| {
            let limit = part.grant.compute_limit_units;
            limit.saturating_sub(part.units(grid).count())
        },
    ),
];

const SLICE: [SliceFigure; 3] = [
    (
        Family(
            "slice_memory_peak_bytes",
            "Highest use of any one GPU of the slice",
        ),
        |slice| slice.live.usage.peak,
    ),
    (
        Family(
            "slice_processes",
            "Processes of the slice that hold GPU memory or queues",
        ),
        |slice| slice.live.usage.processes.into(),
    ),
    (
        Family("slice_masked_queues", "Compute queues that have the slice's mask"),
        |slice| slice.live.usage.masked_queues,
    ),
];

/// Writes them.
pub fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let slices = &snapshot.slices;
    writer.gauges(Family("slices", "Slices by state"), states(slices))?;
    writer.gauges(
        Family("slice_info", "Whose a slice is and what enforces it"),
        slices.iter().map(|slice| (identity(slice), 1u64)),
    )?;
    for (family, figure) in MEMORY {
        let parts = slices.iter().flat_map(SliceNow::parts);
        writer.gauges(family, parts.map(|part| (part_label(&part), figure(&part))))?;
    }
    for (family, figure) in UNITS {
        let parts = slices.iter().flat_map(SliceNow::parts);
        let values =
            parts.filter_map(|part| Some((part_label(&part), figure(&part, grid(snapshot, &part)?))));
        writer.gauges(family, values)?;
    }
    for (family, figure) in SLICE {
        let values = slices.iter().map(|slice| (label(slice), figure(slice)));
        writer.gauges(family, values)?;
    }
    writer.counters(
        Family(
            "slice_allocations_refused",
            "Allocations refused for the slice's limit",
        ),
        slices
            .iter()
            .map(|slice| (label(slice), slice.live.usage.refused)),
    )
}

fn grid<'a>(snapshot: &'a Snapshot, part: &Part<'_>) -> Option<&'a CuGrid> {
    let mut gpus = snapshot.inventory.gpus.iter();
    let gpu = gpus.find(|gpu| gpu.uuid == part.grant.uuid)?;
    Some(&gpu.grid)
}

fn states(slices: &[SliceNow]) -> impl Iterator<Item = (Labels, u64)> {
    SliceState::ALL.into_iter().map(|state| {
        let count = slices.iter().filter(|slice| slice.state == state).count();
        (vec![("state", state.name().to_owned())], count as u64)
    })
}

fn label(slice: &SliceNow) -> Labels {
    vec![("slice", slice.record.id.clone())]
}

fn part_label(part: &Part<'_>) -> Labels {
    let mut labels = label(part.slice);
    labels.push(("gpu", part.grant.index.to_string()));
    labels
}

fn identity(slice: &SliceNow) -> Labels {
    let record = &slice.record;
    let (container, pod) = match &record.holder {
        Holder::Container { container, .. } => (container.clone(), String::new()),
        Holder::Placed { container, .. } => (container.clone().unwrap_or_default(), String::new()),
        Holder::Pod { pod, .. } => (String::new(), pod.clone()),
        Holder::Named => Default::default(),
    };
    let mut labels = label(slice);
    labels.extend([
        ("name", record.name.clone().unwrap_or_default()),
        ("container", container),
        ("pod", pod),
        ("enforcement", record.enforcement.join(",")),
    ]);
    labels
}
