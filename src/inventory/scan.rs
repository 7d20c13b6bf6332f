//! System root → [`Inventory`].
//!
//! ```text
//! topology/nodes/* → gpu_id, properties, mem_banks → class/drm/renderD<M> → card's directory → modes, NUMA node
//! ```
//!
//! A placement needs the first half only, and a hook is in a hurry: three files, a link and three stats for each GPU. Links between
//! GPUs come from hive_id, which every node of a hive bears: the KFD draws an XGMI link between any two GPUs of one
//! hive, so reading the thousands of link files of a partitioned machine would say nothing more.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::compute::grid::{CuGrid, TopologyFigures};
use crate::files::{Dir, FileError, below, normalized};
use crate::inventory::devices::render_node;
use crate::inventory::identity::{Device, Identity, Unnamed, identities};
use crate::inventory::integrated::is_integrated;
use crate::inventory::names::marketing_name;
use crate::inventory::topology::{NodeProperties, bank_size};
use crate::inventory::{Chip, Gpu, Inventory, LeftOut, Needs, PciAddress};

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
        let mut found: Vec<Node> = Vec::new();
        let mut index = 0;
        for number in numbers {
            match read_node(&nodes, (index, number), drm.as_ref()) {
                Ok(Some(node)) => found.push(node),
                Ok(None) => continue,
                Err(reason) => inventory.left_out.push(LeftOut {
                    index,
                    node: number,
                    reason,
                }),
            }
            index += 1;
        }
        let unnamed: Vec<Unnamed<'_>> = found.iter().map(Node::unnamed).collect();
        let identities = identities(&unnamed);
        for (at, (node, identity)) in found.iter().zip(&identities).enumerate() {
            let serves = no_other_has(&found, at).and_then(|()| gpu(node, identity, sysroot));
            match serves {
                Ok(gpu) => inventory.gpus.push(Gpu {
                    linked_nodes: linked(at, &found, &identities),
                    ..gpu
                }),
                Err(reason) => inventory.left_out.push(LeftOut {
                    index: node.index,
                    node: node.number,
                    reason,
                }),
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
    /// Number among the GPUs, those that are left out included.
    index: u32,
    number: u32,
    gpu_id: u32,
    properties: NodeProperties,
    /// Bytes of its memory, or why they are not known.
    memory: Result<u64, String>,
    /// Its render node, or why there is none.
    render: Result<RenderLink, String>,
}

impl Node {
    fn unnamed(&self) -> Unnamed<'_> {
        Unnamed {
            gpu_id: self.gpu_id,
            properties: &self.properties,
            device: self.device(),
        }
    }

    fn device(&self) -> Device {
        self.render
            .as_ref()
            .map_or(Device::Unknown, |render| render.device)
    }

    /// Whether its render node is of the device that its properties name.
    fn is_at_home(&self) -> bool {
        let slot = self.properties.slot();
        matches!(self.device(), Device::Pci(address) if (address.bus, address.device) == (slot.bus, slot.device))
    }
}

/// Where `/sys/class/drm/renderD<M>` points.
struct RenderLink {
    device: Device,
    /// The device's directory below the system root, if it has memory files.
    directory: Option<PathBuf>,
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
fn read_node(nodes: &Dir, (index, number): (u32, u32), drm: Option<&Dir>) -> Result<Option<Node>, String> {
    let text = |file: &str| {
        nodes
            .read(&format!("{number}/{file}"))
            .map_err(|error| unread(&error))
    };
    let gpu_id = text("gpu_id")?;
    let gpu_id: u32 = gpu_id
        .parse()
        .map_err(|_| format!("gpu_id is {gpu_id:?}, not a number"))?;
    if gpu_id == 0 {
        return Ok(None);
    }
    let properties = NodeProperties::parse(&text("properties")?);
    if properties.simd_count == 0 {
        let path = nodes.path_of(&format!("{number}/properties"));
        return Err(format!("{} has no simd_count", path.display()));
    }
    Ok(Some(Node {
        index,
        number,
        gpu_id,
        memory: memory(nodes, number, &properties),
        render: render_link(drm, &properties),
        properties,
    }))
}

/// The kernel shows a GPU's node to those whose device cgroup allows its render node: `kfd_devcgroup_check_permission()`.
fn unread(error: &FileError) -> String {
    if error.is_not_permitted() {
        return format!(
            "{error}: this process's device cgroup does not allow the GPU's render node (a service needs DeviceAllow=char-drm rw)"
        );
    }
    error.to_string()
}

fn memory(nodes: &Dir, number: u32, properties: &NodeProperties) -> Result<u64, String> {
    let mut sum = 0_u64;
    for bank in 0..properties.mem_banks_count.max(1) {
        let file = format!("{number}/mem_banks/{bank}/properties");
        let text = nodes.read(&file).map_err(|error| error.to_string())?;
        let size = bank_size(&text)
            .ok_or_else(|| format!("{} has no size_in_bytes", nodes.path_of(&file).display()))?;
        sum = sum.saturating_add(size);
    }
    match sum {
        0 => Err("its memory banks have 0 bytes".to_owned()),
        sum => Ok(sum),
    }
}

/// A device file or a gpu_id that several nodes claim is that of one: the one whose device it is, else the first. What
/// would be given of the others is that one's.
fn no_other_has(nodes: &[Node], at: usize) -> Result<(), String> {
    let Some(node) = nodes.get(at) else {
        return Ok(());
    };
    for (position, other) in nodes.iter().enumerate() {
        let minor = node.properties.drm_render_minor;
        let claimed = match other {
            _ if position == at => continue,
            _ if other.properties.drm_render_minor == minor => format!("renderD{minor}"),
            _ if other.gpu_id == node.gpu_id => format!("gpu_id {}", node.gpu_id),
            _ => continue,
        };
        if (other.is_at_home(), Reverse(position)) > (node.is_at_home(), Reverse(at)) {
            return Err(format!("{claimed} is that of KFD node {}", other.number));
        }
    }
    Ok(())
}

/// GPUs of one hive, and partitions of one card.
fn linked(at: usize, nodes: &[Node], identities: &[Identity]) -> Vec<u32> {
    let (Some(node), Some(identity)) = (nodes.get(at), identities.get(at)) else {
        return Vec::new();
    };
    let hive = node.properties.hive_id;
    let others = nodes
        .iter()
        .zip(identities)
        .filter(|(other, _)| other.number != node.number);
    others
        .filter(|(other, its)| (hive != 0 && other.properties.hive_id == hive) || its.pci == identity.pci)
        .map(|(other, _)| other.number)
        .collect()
}

/// The GPU of a node, or why it cannot serve.
fn gpu(node: &Node, identity: &Identity, sysroot: &Path) -> Result<Gpu, String> {
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
    let memory_bytes = node.memory.clone()?;
    let device_dir = node.render.as_ref().map_err(String::clone)?.directory.clone();
    render_node(sysroot, properties.drm_render_minor).map_err(|error| error.to_string())?;
    if let Some(directory) = &device_dir {
        has_memory_files(&below(sysroot, directory))?;
    }
    let chip = Chip {
        gfx: properties.gfx_target_version,
        lds_kib: properties.lds_size_in_kb,
    };
    Ok(Gpu {
        index: node.index,
        uuid: identity.uuid.clone(),
        name: marketing_name(properties.device_id).map_or_else(|| properties.gfx_name(), str::to_owned),
        pci: identity.pci,
        node: node.number,
        gpu_id: node.gpu_id,
        render_minor: properties.drm_render_minor,
        memory_bytes,
        grid,
        integrated: is_integrated(properties),
        excluded: false,
        needs: Needs::of(&grid, chip),
        compute_partition: None,
        memory_partition: None,
        numa_node: None,
        linked_nodes: Vec::new(),
        device_dir,
    })
}

/// A slice's own figures are bound over these: without them its container would not start.
fn has_memory_files(device: &Path) -> Result<(), String> {
    for file in ["mem_info_vram_total", "mem_info_vram_used"] {
        let path = device.join(file);
        std::fs::metadata(&path).map_err(|error| format!("stat {}: {error}", path.display()))?;
    }
    Ok(())
}

/// `/sys/class/drm/renderD<M>` points to `…/<PCI address>/drm/renderD<M>`, or for an extra partition to a platform device,
/// `amdgpu_xcp_<i>` or `amdgpu_xcp.<i>`, which has no memory files.
fn render_link(drm: Option<&Dir>, properties: &NodeProperties) -> Result<RenderLink, String> {
    if properties.drm_render_minor == 0 {
        return Err("its properties have no drm_render_minor".to_owned());
    }
    let Some(drm) = drm else {
        return Ok(RenderLink {
            device: Device::Unknown,
            directory: None,
        });
    };
    let name = format!("renderD{}", properties.drm_render_minor);
    let link = drm.link(&name).map_err(|error| error.to_string())?;
    let link = link.ok_or_else(|| format!("{} is not there", drm.path_of(&name).display()))?;
    let node = normalized(&Path::new(DRM_CLASS).join(link));
    let directory = node.parent().and_then(Path::parent);
    let name = directory
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    Ok(match name.parse() {
        _ if name.starts_with("amdgpu_xcp") => RenderLink {
            device: Device::Partition,
            directory: None,
        },
        Ok(address) => RenderLink {
            device: Device::Pci(address),
            directory: directory.map(Path::to_owned),
        },
        Err(_) => RenderLink {
            device: Device::Unknown,
            directory: directory.map(Path::to_owned),
        },
    })
}

/// Name, modes and NUMA node from the card's directory, which is read once for all of its partitions.
fn add_card_facts(sysroot: &Path, inventory: &mut Inventory) {
    let mut cards: HashMap<PciAddress, CardFacts> = HashMap::new();
    for gpu in &mut inventory.gpus {
        let facts = cards.entry(gpu.pci).or_insert_with(|| {
            let by_address = Path::new(PCI_DEVICES).join(gpu.pci.to_string());
            let directory = gpu.device_dir.as_deref().unwrap_or(&by_address);
            CardFacts::read(&below(sysroot, directory), &mut inventory.unread)
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
    fn read(directory: &Path, unread: &mut Vec<String>) -> Self {
        let card = match Dir::open(directory) {
            Ok(card) => card,
            Err(error) => {
                unread.push(format!("partition modes and NUMA node unknown: {error}"));
                return Self::default();
            }
        };
        let mut fact = |file: &str| match card.read_optional(file) {
            Ok(text) => text.filter(|text| !text.is_empty()),
            Err(error) => {
                unread.push(error.to_string());
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
