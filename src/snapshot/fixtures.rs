//! Nodes with slices, for tests.

use crate::compute::grid::CuGrid;
use crate::inventory::{Gpu, Inventory, Needs, PciAddress};
use crate::ledger::pages::Usage;
use crate::ledger::record::{Holder, RECORD_VERSION, SliceRecord};
use crate::lifecycle::limits::{SliceUse, plan};
use crate::placement::{Rules, place};
use crate::request;
use crate::snapshot::{Live, SliceNow, SliceState, Snapshot};

/// A GiB.
pub const GI: u64 = 1 << 30;
const RESERVED: u64 = 512 << 20;

/// An MI300X in SPX.
pub fn mi300x(index: u32) -> Gpu {
    Gpu {
        index,
        uuid: format!("GPU-{index:016x}"),
        name: "AMD Instinct MI300X".to_owned(),
        pci: PciAddress {
            domain: 0,
            bus: 5 + index as u8,
            device: 0,
            function: 0,
        },
        node: index + 2,
        gpu_id: 1000 + index,
        render_minor: 128 + 8 * index,
        memory_bytes: 206_141_652_992,
        grid: CuGrid {
            xccs: 8,
            engines: 4,
            arrays: 1,
            slots: 10,
            active_units: 304,
            paired: false,
        },
        integrated: false,
        excluded: false,
        needs: Needs { queue: 186_019_840 },
        compute_partition: Some("SPX".to_owned()),
        memory_partition: Some("NPS1".to_owned()),
        numa_node: Some(index / 4),
        linked_nodes: Vec::new(),
        device_dir: None,
    }
}

/// A node of MI300X without slices.
pub fn empty_node(gpus: u32) -> Snapshot {
    Snapshot {
        inventory: Inventory {
            gpus: (0..gpus).map(mi300x).collect(),
            ..Inventory::default()
        },
        slices: Vec::new(),
        reserved_bytes: RESERVED,
    }
}

/// One MI300X with slices of 250m: GiB guaranteed, at most, in use.
pub fn node_with(slices: &[(u64, u64, u64)]) -> Snapshot {
    let mut node = empty_node(1);
    for (number, (guarantee, limit, used)) in slices.iter().enumerate() {
        let words = format!("memory={guarantee}Gi memoryLimit={limit}Gi compute=250m");
        add_slice(&mut node, (&format!("slice-{number}"), &words), used * GI);
    }
    node
}

/// Places a slice, asked for by `key=value` words, that uses so many bytes of each GPU; all limits are put in force.
pub fn add_slice(node: &mut Snapshot, (name, words): (&str, &str), used: u64) {
    let keys: Vec<(String, &str)> = words
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap())
        .map(|(key, value)| (format!("sdg.{key}"), value))
        .collect();
    let pairs = keys.iter().map(|(key, value)| (key.as_str(), *value));
    let request = request::parse(pairs).unwrap().unwrap();
    let rules = Rules {
        shape: Default::default(),
        reserved_bytes: RESERVED,
    };
    let mut uses: Vec<SliceUse> = node.slices.iter().map(slice_use).collect();
    let taken: Vec<_> = uses.iter().map(SliceUse::taken).collect();
    let grants = place(&request, &node.inventory, &taken, &rules).unwrap().grants;
    let live = Live {
        in_force: Vec::new(),
        usage: Usage {
            used: vec![used; grants.len()],
            peak: used,
            ..Usage::default()
        },
    };
    let record = SliceRecord {
        version: RECORD_VERSION,
        id: format!("{:012x}", 0xa0 + node.slices.len()),
        name: Some(name.to_owned()),
        created: 1000 + node.slices.len() as u64,
        request,
        holder: Holder::Named,
        user: None,
        enforcement: vec!["devices".to_owned(), "cooperative".to_owned()],
        gpus: grants,
    };
    node.slices.push(SliceNow {
        record,
        live,
        state: SliceState::Named,
    });
    uses = node.slices.iter().map(slice_use).collect();
    let planned = plan(&node.inventory.gpus, &uses, &rules);
    for (slice, planned) in node.slices.iter_mut().zip(planned) {
        slice.live.in_force = planned.into_iter().flatten().collect();
    }
}

fn slice_use(slice: &SliceNow) -> SliceUse {
    SliceUse {
        record: slice.record.clone(),
        used: slice.live.usage.used.clone(),
    }
}
