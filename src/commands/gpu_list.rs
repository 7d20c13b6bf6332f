//! `sdg gpu list`.

use crate::cli::Output;
use crate::commands::{CommandError, complain, print, print_json, warn_of};
use crate::host::Host;
use crate::inventory::{Detail, Offer};
use crate::listing::{GpuEntry, table};
use crate::units::Bytes;

/// Lists GPUs and partitions.
pub fn run(host: &Host, output: Output) -> Result<(), CommandError> {
    let inventory = host.inventory(Detail::Full)?;
    warn_of(&inventory);
    if inventory.gpus.is_empty() {
        complain(
            "no GPU that the KFD knows (/sys/class/kfd/kfd/topology/nodes; is the driver amdgpu loaded?)",
        );
    }
    let entries: Vec<GpuEntry<'_>> = inventory
        .gpus
        .iter()
        .map(|gpu| GpuEntry::new(gpu, &inventory))
        .collect();
    if output.json {
        return print_json(&entries);
    }
    if entries.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let heading = [
        "GPU", "NAME", "UUID", "PCI", "NODE", "MEMORY", "CUS", "XCC", "SE", "MODE", "NUMA", "SLICES",
    ];
    print(table(&heading, &rows).as_bytes())
}

fn row(gpu: &GpuEntry<'_>) -> Vec<String> {
    let modes: Vec<&str> = [gpu.compute_partition, gpu.memory_partition]
        .into_iter()
        .flatten()
        .collect();
    let mode = if modes.is_empty() {
        "-".to_owned()
    } else {
        modes.join("/")
    };
    vec![
        gpu.index.to_string(),
        gpu.name.to_owned(),
        gpu.uuid.to_owned(),
        gpu.pci.clone(),
        gpu.render_node.trim_start_matches("/dev/dri/").to_owned(),
        Bytes(gpu.memory_bytes).to_string(),
        gpu.compute_units.to_string(),
        gpu.xcc.to_string(),
        gpu.shader_engines.to_string(),
        mode,
        gpu.numa_node.map_or("-".to_owned(), |node| node.to_string()),
        match gpu.offered_to {
            Offer::Any => "yes",
            Offer::Named => "by name",
            Offer::Nobody => "excluded",
        }
        .to_owned(),
    ]
}
