//! Nodes and slices to place on.

use sdg::compute::grid::CuGrid;
use sdg::inventory::{Gpu, Inventory, Needs, PciAddress};
use sdg::placement::{GpuGrant, Placement, PlacementError, Rules, Taken, place};
use sdg::request::{SliceRequest, parse};

/// What an MI300X reports.
pub const MI300X_BYTES: u64 = 206_141_652_992;

pub fn mi300x_grid() -> CuGrid {
    CuGrid {
        xccs: 8,
        engines: 4,
        arrays: 1,
        slots: 10,
        active_units: 304,
        paired: false,
    }
}

/// A card of its own, linked to no other.
pub fn mi300x(index: u32) -> Gpu {
    Gpu {
        index,
        uuid: format!("GPU-{:016x}", 0x6f7b_f9e1_3e8c_2a00 + u64::from(index)),
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
        memory_bytes: MI300X_BYTES,
        grid: mi300x_grid(),
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

/// A node with `count` MI300X, linked to one another in islands of `island`.
pub fn node(count: u32, island: u32) -> Inventory {
    let mut gpus: Vec<Gpu> = (0..count).map(mi300x).collect();
    for gpu in &mut gpus {
        let first = gpu.index / island * island;
        let others = (first..(first + island).min(count)).filter(|&other| other != gpu.index);
        gpu.linked_nodes = others.map(|other| other + 2).collect();
    }
    Inventory {
        gpus,
        ..Inventory::default()
    }
}

/// A request from `key=value` words; the keys without `sdg.`.
pub fn request(words: &str) -> SliceRequest {
    let keys: Vec<(String, &str)> = words
        .split_whitespace()
        .map(|word| word.split_once('=').expect("key=value"))
        .map(|(key, value)| (format!("sdg.{key}"), value))
        .collect();
    let pairs = keys.iter().map(|(key, value)| (key.as_str(), *value));
    parse(pairs).expect("a good request").expect("a request")
}

/// A node with its slices.
pub struct House {
    pub inventory: Inventory,
    pub rules: Rules,
    pub slices: Vec<Slice>,
}

/// A slice that was placed.
pub struct Slice {
    pub name: String,
    pub request: SliceRequest,
    pub grants: Vec<GpuGrant>,
    pub used: Vec<u64>,
}

impl House {
    pub fn new(inventory: Inventory) -> Self {
        Self {
            inventory,
            rules: Rules::default(),
            slices: Vec::new(),
        }
    }

    pub fn try_place(&self, request: &SliceRequest) -> Result<Placement, PlacementError> {
        let taken: Vec<Taken<'_>> = self
            .slices
            .iter()
            .map(|slice| Taken {
                id: "0123456789ab",
                name: Some(&slice.name),
                request: &slice.request,
                grants: &slice.grants,
                used: &slice.used,
            })
            .collect();
        place(request, &self.inventory, &taken, &self.rules)
    }

    /// Places and keeps a slice.
    pub fn add(&mut self, name: &str, words: &str) -> Result<&[GpuGrant], PlacementError> {
        let request = request(words);
        let grants = self.try_place(&request)?.grants;
        let slice = Slice {
            name: name.to_owned(),
            request,
            used: vec![0; grants.len()],
            grants,
        };
        self.slices.push(slice);
        Ok(self.slices.last().map_or(&[], |slice| &slice.grants))
    }
}
