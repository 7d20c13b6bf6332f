//! What GPUs there are. Partitions are GPUs of their own.
//!
//! ```text
//! sysfs below a system root ─(scan.rs)→ node facts ─(topology.rs)→ Inventory
//! ```

mod devices;
mod identity;
mod integrated;
mod names;
mod needs;
mod scan;
mod selector;
mod topology;

pub use devices::{DeviceFile, DeviceFiles, DeviceFilesError};
pub use needs::{Chip, Needs};
pub use scan::{Detail, InventoryError};
pub use selector::GpuSelector;
pub use topology::{bank_size, with_bank_size};

use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::compute::grid::CuGrid;

/// A PCI address, e.g. `0000:47:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    /// Domain.
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device, 0 … 31.
    pub device: u8,
    /// Function, 0 … 7.
    pub function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        )
    }
}

/// What [`PciAddress`] accepts: `DDDD:BB:DD.F`, hexadecimal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no PCI address (one looks like 0000:47:00.0)")]
pub struct PciAddressError(String);

impl FromStr for PciAddress {
    type Err = PciAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            if domain.len() < 4 || bus.len() != 2 || device.len() != 2 || function.len() != 1 {
                return None;
            }
            let address = Self {
                domain: u32::from_str_radix(domain, 16).ok()?,
                bus: u8::from_str_radix(bus, 16).ok()?,
                device: u8::from_str_radix(device, 16).ok()?,
                function: u8::from_str_radix(function, 16).ok()?,
            };
            (address.device < 32 && address.function < 8).then_some(address)
        };
        parse().ok_or_else(|| PciAddressError(text.to_owned()))
    }
}

/// A GPU, or a partition of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Number in the order of KFD nodes, from 0; one that is left out keeps its number.
    pub index: u32,
    /// `GPU-<unique_id in 16 hex digits>`; a partition of a card that has several adds `-<partition number>`, and where
    /// that is not its own, place or gpu_id follow.
    pub uuid: String,
    /// Marketing or chip name, e.g. `AMD Instinct MI300X` or `gfx942`.
    pub name: String,
    /// PCI address of the card.
    pub pci: PciAddress,
    /// Number of the KFD topology node.
    pub node: u32,
    /// The KFD's gpu_id.
    pub gpu_id: u32,
    /// M of `/dev/dri/renderD<M>`.
    pub render_minor: u32,
    /// Memory that the driver reports, in bytes.
    pub memory_bytes: u64,
    /// Compute units.
    pub grid: CuGrid,
    /// Part of a processor.
    pub integrated: bool,
    /// Left out by the configuration.
    pub excluded: bool,
    /// What programs take of its memory for themselves.
    pub needs: Needs,
    /// `SPX`, `DPX`, `TPX`, `QPX`, `CPX`; none where the card has no partitions.
    pub compute_partition: Option<String>,
    /// `NPS1`, `NPS2`, `NPS4`; none where the card has no partitions.
    pub memory_partition: Option<String>,
    /// NUMA node of the card; none where the kernel says -1 or nothing.
    pub numa_node: Option<u32>,
    /// KFD node numbers of the GPUs that this one is linked to by XGMI.
    pub linked_nodes: Vec<u32>,
    /// The sysfs directory with `mem_info_vram_total`, below the system root, e.g. `/sys/devices/pci…/0000:47:00.0`;
    /// none where there is none (extra partitions).
    pub device_dir: Option<PathBuf>,
}

/// A GPU that cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its number among the GPUs, which no other gets.
    pub index: u32,
    /// Number of the KFD topology node.
    pub node: u32,
    /// Why it cannot.
    pub reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GPU {} (KFD node {}) is left out: {}",
            self.index, self.node, self.reason
        )
    }
}

/// The GPUs of a node, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// GPUs by index.
    pub gpus: Vec<Gpu>,
    /// Those that cannot serve.
    pub left_out: Vec<LeftOut>,
    /// What else could not be read and why, a line each.
    pub unread: Vec<String>,
    /// Names in `exclude_gpus` that are no GPU's.
    pub unmatched: Vec<GpuSelector>,
}

/// Which requests get slices of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Offer {
    /// Any.
    Any,
    /// Those that name it: it is part of a processor, and there are cards.
    Named,
    /// None: `exclude_gpus` in the configuration names it.
    Nobody,
}

impl Inventory {
    /// Leaves out the GPUs that an administrator names. Slices that are on them stay.
    pub fn exclude(&mut self, selectors: &[GpuSelector]) {
        for selector in selectors {
            let mut found = self.left_out(selector).is_some();
            for gpu in self.gpus.iter_mut().filter(|gpu| selector.names(gpu)) {
                gpu.excluded = true;
                found = true;
            }
            if !found {
                self.unmatched.push(selector.clone());
            }
        }
    }

    /// The GPU of that name that cannot serve; it has no name but its number.
    pub fn left_out(&self, selector: &GpuSelector) -> Option<&LeftOut> {
        let GpuSelector::Index(index) = selector else {
            return None;
        };
        self.left_out.iter().find(|gpu| gpu.index == *index)
    }

    /// What is not as it should be, a line each.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        let left_out = self.left_out.iter().map(LeftOut::to_string);
        left_out.chain(self.unread.iter().cloned())
    }

    /// Which requests get slices of one of its GPUs.
    pub fn offer(&self, gpu: &Gpu) -> Offer {
        let is_card = |gpu: &Gpu| !gpu.excluded && !gpu.integrated;
        match gpu {
            _ if gpu.excluded => Offer::Nobody,
            _ if gpu.integrated && self.gpus.iter().any(is_card) => Offer::Named,
            _ => Offer::Any,
        }
    }
}
