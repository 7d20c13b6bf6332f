//! System root → [`Inventory`].
//!
//! ```text
//! topology/nodes/* → gpu_id, properties, mem_banks → class/drm/renderD<M> → card's directory → modes, NUMA node
//! ```
//!
//! A placement needs the first half only, and a hook is in a hurry: three files and a link for each GPU. Links between
//! GPUs come from hive_id, which every node of a hive bears: the KFD draws an XGMI link between any two GPUs of one
//! hive, so reading the thousands of link files of a partitioned machine would say nothing more.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::compute::grid::{CuGrid, TopologyFigures};
use crate::files::{Dir, FileError, below, normalized};
use crate::inventory::names::marketing_name;
use crate::inventory::topology::{NodeProperties, bank_size};
use crate::inventory::{Chip, Gpu, Inventory, Needs, PciAddress};

const TOPOLOGY: &str = "/sys/class/kfd/kfd/topology/nodes";
const DRM_CLASS: &str = "/sys/class/drm";
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What a placement needs; names are chip names, modes and NUMA nodes are left out.
    Placement,
    /// All.
    Full,
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The list of nodes is there and cannot be read.
    #[error("read {}: {source}", path.display())]
    Nodes {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory that holds GPUs cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Inventory {
    /// Reads the GPUs of the machine whose `/sys` is below `sysroot`. No driver or no GPU: an empty inventory.
    pub fn read(sysroot: &Path, detail: Detail) -> Result<Self, InventoryError> {
        let topology = below(sysroot, Path::new(TOPOLOGY));
        let numbers = node_numbers(&topology)?;
        if numbers.is_empty() {
            return Ok(Self::default());
        }
        let nodes = Dir::open(&topology)?;
        let drm = match Dir::open(&below(sysroot, Path::new(DRM_CLASS))) {
            Err(error) if error.is_absent() => None,
            drm => Some(drm?),
        };
        let mut inventory = Self::default();
        let mut found = Vec::new();
        for number in numbers {
            match read_node(&nodes, number) {
                Ok(Some(node)) => found.push(node),
                Ok(None) => {}
                Err(reason) => inventory
                    .warnings
                    .push(format!("KFD node {number} left out: {reason}")),
            }
        }
        let several = cards_with_partitions(&found);
        for node in &found {
            match gpu(node, several.contains(&node.card()), drm.as_ref()) {
                Ok(gpu) => inventory.gpus.push(Gpu {
                    index: inventory.gpus.len() as u32,
                    linked_nodes: linked(node, &found),
                    ..gpu
                }),
                Err(reason) => inventory
                    .warnings
                    .push(format!("KFD node {} left out: {reason}", node.number)),
            }
        }
        if detail == Detail::Full {
            add_card_facts(sysroot, &mut inventory);
        }
        Ok(inventory)
    }
}

/// A GPU's node as read.
struct Node {
    number: u32,
    gpu_id: u32,
    properties: NodeProperties,
    memory_bytes: u64,
}

impl Node {
    /// What all partitions of a card have in common.
    fn card(&self) -> (PciAddress, u64) {
        (self.properties.pci(), self.properties.unique_id)
    }
}

fn node_numbers(topology: &Path) -> Result<Vec<u32>, InventoryError> {
    let failed = |error| FileError::of("read", topology)(error);
    let entries = match std::fs::read_dir(topology) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error).into()),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// None for a CPU.
fn read_node(nodes: &Dir, number: u32) -> Result<Option<Node>, String> {
    let text = |file: &str| nodes.read(&format!("{number}/{file}")).map_err(|e| e.to_string());
    let gpu_id = text("gpu_id")?;
    let gpu_id: u32 = gpu_id
        .parse()
        .map_err(|_| format!("gpu_id is {gpu_id:?}, not a number"))?;
    if gpu_id == 0 {
        return Ok(None);
    }
    let properties = NodeProperties::parse(&text("properties")?);
    if properties.simd_count == 0 {
        return Ok(None);
    }
    let mut memory_bytes = 0;
    for bank in 0..properties.mem_banks_count.max(1) {
        let file = format!("mem_banks/{bank}/properties");
        memory_bytes += bank_size(&text(&file)?)
            .ok_or_else(|| format!("{} has no size_in_bytes", nodes.path_of(&file).display()))?;
    }
    Ok(Some(Node {
        number,
        gpu_id,
        properties,
        memory_bytes,
    }))
}

fn cards_with_partitions(nodes: &[Node]) -> Vec<(PciAddress, u64)> {
    let mut counts = HashMap::new();
    for node in nodes {
        *counts.entry(node.card()).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(card, _)| card)
        .collect()
}

fn linked(node: &Node, all: &[Node]) -> Vec<u32> {
    let hive = node.properties.hive_id;
    all.iter()
        .filter(|other| other.number != node.number)
        .filter(|other| (hive != 0 && other.properties.hive_id == hive) || other.card() == node.card())
        .map(|other| other.number)
        .collect()
}

fn gpu(node: &Node, one_of_several: bool, drm: Option<&Dir>) -> Result<Gpu, String> {
    let properties = &node.properties;
    let grid = CuGrid::from_topology(&TopologyFigures {
        simd_count: properties.simd_count,
        simd_per_cu: properties.simd_per_cu,
        array_count: properties.array_count,
        simd_arrays_per_engine: properties.simd_arrays_per_engine,
        cu_per_simd_array: properties.cu_per_simd_array,
        num_xcc: properties.num_xcc.max(1),
        gfx_target_version: properties.gfx_target_version,
    })
    .map_err(|error| error.to_string())?;
    let pci = properties.pci();
    // Cards without a serial number are told apart by where they are.
    let card = match properties.unique_id {
        0 => format!("GPU-{}", pci.to_string().replace([':', '.'], "-")),
        id => format!("GPU-{id:016x}"),
    };
    let uuid = if one_of_several {
        format!("{card}-{}", properties.partition())
    } else {
        card
    };
    let device_dir = match drm {
        Some(drm) => device_dir(drm, properties.drm_render_minor).map_err(|error| error.to_string())?,
        None => None,
    };
    Ok(Gpu {
        index: 0,
        uuid,
        name: marketing_name(properties.device_id).map_or_else(|| properties.gfx_name(), str::to_owned),
        pci,
        node: node.number,
        gpu_id: node.gpu_id,
        render_minor: properties.drm_render_minor,
        memory_bytes: node.memory_bytes,
        grid,
        needs: Needs::of(
            &grid,
            Chip {
                gfx: properties.gfx_target_version,
                lds_kib: properties.lds_size_in_kb,
            },
        ),
        compute_partition: None,
        memory_partition: None,
        numa_node: None,
        linked_nodes: Vec::new(),
        device_dir,
    })
}

/// The PCI device's directory below the system root. `/sys/class/drm/renderD<M>` points to
/// `…/<PCI address>/drm/renderD<M>`, or for an extra partition to a platform device, `amdgpu_xcp_<i>` or
/// `amdgpu_xcp.<i>`, which has no memory files.
fn device_dir(drm: &Dir, render_minor: u32) -> Result<Option<PathBuf>, FileError> {
    let link = drm.link(&format!("renderD{render_minor}"))?;
    let card = |link| {
        let node = normalized(&Path::new(DRM_CLASS).join(link));
        let device = node.parent()?.parent()?;
        let name = device.file_name()?.to_str()?;
        (!name.starts_with("amdgpu_xcp")).then(|| device.to_owned())
    };
    Ok(link.and_then(card))
}

/// Name, modes and NUMA node from the card's directory, which is read once for all of its partitions.
fn add_card_facts(sysroot: &Path, inventory: &mut Inventory) {
    let mut cards: HashMap<PciAddress, CardFacts> = HashMap::new();
    for gpu in &mut inventory.gpus {
        let facts = cards.entry(gpu.pci).or_insert_with(|| {
            let by_address = Path::new(PCI_DEVICES).join(gpu.pci.to_string());
            let directory = gpu.device_dir.as_deref().unwrap_or(&by_address);
            CardFacts::read(&below(sysroot, directory), &mut inventory.warnings)
        });
        if let Some(name) = &facts.name {
            gpu.name.clone_from(name);
        }
        gpu.compute_partition.clone_from(&facts.compute_partition);
        gpu.memory_partition.clone_from(&facts.memory_partition);
        gpu.numa_node = facts.numa_node;
    }
}

#[derive(Default)]
struct CardFacts {
    name: Option<String>,
    compute_partition: Option<String>,
    memory_partition: Option<String>,
    numa_node: Option<u32>,
}

impl CardFacts {
    fn read(directory: &Path, warnings: &mut Vec<String>) -> Self {
        let card = match Dir::open(directory) {
            Ok(card) => card,
            Err(error) => {
                warnings.push(format!("partition modes and NUMA node unknown: {error}"));
                return Self::default();
            }
        };
        let mut fact = |file: &str| match card.read_optional(file) {
            Ok(text) => text.filter(|text| !text.is_empty()),
            Err(error) => {
                warnings.push(error.to_string());
                None
            }
        };
        Self {
            name: fact("product_name"),
            compute_partition: fact("current_compute_partition"),
            memory_partition: fact("current_memory_partition"),
            numa_node: fact("numa_node").and_then(|text| text.parse().ok()),
        }
    }
}
