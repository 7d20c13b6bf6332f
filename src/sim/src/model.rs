//! The GPUs of a node, read from the topology that the node's directory holds: what the sysfs files say is what the
//! devices are.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cu_map::Geometry;

/// Size in bytes of a page of host and GPU.
pub const PAGE: u64 = 4096;

/// Why a node's directory cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not say what is needed.
    #[error("{path}: no {key}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The line or number that is missing.
        key: &'static str,
    },
    /// No GPU among the nodes.
    #[error("{0}: no node with compute units (make one with `sdg-sim node --preset NAME DIR`)")]
    NoGpu(PathBuf),
}

/// One GPU, or a partition of one, as the KFD and DRM present it.
#[derive(Clone, Debug)]
pub struct GpuModel {
    /// Number of the topology's node.
    pub topology_node: u32,
    /// The KFD's gpu_id.
    pub gpu_id: u32,
    /// M of renderD`M`.
    pub render_minor: u32,
    /// Video memory in bytes.
    pub vram_bytes: u64,
    /// Compute units.
    pub geometry: Geometry,
    /// major × 10000 + minor × 100 + stepping.
    pub gfx: u32,
    /// PCI device id.
    pub device_id: u32,
    /// PCI revision: with the device id it decides the product's name.
    pub pci_revision: u32,
    /// Number that partitions of one card have in common.
    pub card: u64,
    /// Width of the memory bus.
    pub memory_width_bits: u64,
    /// Clock of the memory.
    pub memory_clock_mhz: u64,
    /// The GPU's `mem_info_vram_used` file.
    pub vram_used_file: PathBuf,
    properties: HashMap<String, u64>,
}

/// What a compute queue must bring along. Source: `kfd_queue_ctx_save_restore_size()` in Linux, kfd_queue.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveArea {
    /// Exact `ctl_stack_size`.
    pub ctl_stack: u32,
    /// Least `ctx_save_restore_size` of one XCC.
    pub per_xcc: u32,
    /// Bytes that a debugger needs for one XCC.
    pub debug: u32,
    /// Exact `eop_buffer_size`.
    pub eop: u32,
}

impl GpuModel {
    /// A number of the topology's `properties`; 0 where there is none.
    pub fn property(&self, key: &str) -> u64 {
        self.properties.get(key).copied().unwrap_or(0)
    }

    /// The sizes that CREATE_QUEUE checks.
    pub fn save_area(&self) -> SaveArea {
        let per_node = |key| self.property(key).max(1) as u32;
        let units = per_node("simd_count") / per_node("simd_per_cu") / self.geometry.xccs.max(1);
        let engines = per_node("array_count") / per_node("simd_arrays_per_engine");
        let waves = if self.gfx < 100_100 {
            (units * 40).min(engines * 512)
        } else {
            units * 32
        };
        let registers: u32 = match self.gfx {
            90_402 | 90_010 | 90_008 | 90_500 => 0x80000,
            110_000 | 110_001 | 120_000 | 120_001 => 0x60000,
            _ => 0x40000,
        };
        let lds = if self.gfx == 90_500 {
            (self.property("lds_size_in_kb") as u32) << 10
        } else {
            0x10000
        };
        let workgroups = align(units * (registers + 0x4000 + lds + 0x1000), PAGE as u32);
        let stack_per_wave = if self.gfx >= 100_100 { 12 } else { 8 };
        let stack = align(40 + waves * stack_per_wave + 8, PAGE as u32);
        let ctl_stack = if self.gfx / 10000 == 10 {
            stack.min(0x7000)
        } else {
            stack
        };
        SaveArea {
            ctl_stack,
            per_xcc: ctl_stack + workgroups,
            debug: align(waves * 32, 64),
            eop: 4096,
        }
    }
}

fn align(value: u32, to: u32) -> u32 {
    value.div_ceil(to) * to
}

/// The GPUs of the node in `sysroot`, in the order of the topology.
pub fn read_node(sysroot: &Path) -> Result<Vec<GpuModel>, ModelError> {
    let nodes = sysroot.join("sys/class/kfd/kfd/topology/nodes");
    let entries = fs::read_dir(&nodes).map_err(|source| ModelError::Read {
        path: nodes.clone(),
        source,
    })?;
    let mut numbers: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut gpus = Vec::new();
    for number in numbers {
        gpus.extend(read_gpu(sysroot, &nodes, number)?);
    }
    if gpus.is_empty() {
        Err(ModelError::NoGpu(nodes))
    } else {
        Ok(gpus)
    }
}

/// The major number of /dev/kfd in the node at `sysroot`.
pub fn kfd_major(sysroot: &Path) -> Result<u32, ModelError> {
    let path = sysroot.join("sys/class/kfd/kfd/dev");
    let text = read(&path)?;
    let major = text
        .split_once(':')
        .and_then(|(major, _)| major.trim().parse().ok());
    major.ok_or(ModelError::Missing {
        path,
        key: "MAJOR:MINOR",
    })
}

/// The number of a PCI attribute such as `0xc8`; 0 where there is none.
fn hexadecimal(text: &str) -> u32 {
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).unwrap_or(0)
}

fn read_gpu(sysroot: &Path, nodes: &Path, topology_node: u32) -> Result<Option<GpuModel>, ModelError> {
    let node = nodes.join(topology_node.to_string());
    let path = node.join("properties");
    let properties = parse(&read(&path)?);
    let number = |key: &'static str| {
        properties.get(key).copied().ok_or_else(|| ModelError::Missing {
            path: path.clone(),
            key,
        })
    };
    if number("simd_count")? == 0 {
        return Ok(None);
    }
    let bank_path = node.join("mem_banks/0/properties");
    let bank = parse(&read(&bank_path)?);
    let vram_bytes = bank.get("size_in_bytes").copied();
    let id_path = node.join("gpu_id");
    let gpu_id = read(&id_path)?.trim().parse().ok();
    let gfx = number("gfx_target_version")? as u32;
    let render_minor = number("drm_render_minor")? as u32;
    let geometry = geometry_of(&properties, gfx);
    let device_id = number("device_id")? as u32;
    let card = number("domain")? << 32 | number("location_id")? >> 3;
    let of_bank = |key: &str| bank.get(key).copied().unwrap_or(0);
    let (memory_width_bits, memory_clock_mhz) = (of_bank("width"), of_bank("mem_clk_max"));
    let device = sysroot.join(format!("sys/class/drm/renderD{render_minor}/device"));
    // A partition's own device has no such file.
    let (domain, bus) = (number("domain")?, number("location_id")? >> 8);
    let revision = sysroot.join(format!(
        "sys/bus/pci/devices/{domain:04x}:{bus:02x}:00.0/revision"
    ));
    Ok(Some(GpuModel {
        topology_node,
        gpu_id: gpu_id.ok_or(ModelError::Missing {
            path: id_path,
            key: "number",
        })?,
        render_minor,
        vram_bytes: vram_bytes.ok_or(ModelError::Missing {
            path: bank_path,
            key: "size_in_bytes",
        })?,
        geometry,
        gfx,
        device_id,
        pci_revision: hexadecimal(&read(&revision).unwrap_or_default()),
        card,
        memory_width_bits,
        memory_clock_mhz,
        vram_used_file: device.join("mem_info_vram_used"),
        properties,
    }))
}

fn geometry_of(properties: &HashMap<String, u64>, gfx: u32) -> Geometry {
    let of = |key: &str| properties.get(key).copied().unwrap_or(1).max(1) as u32;
    let xccs = of("num_xcc");
    let arrays = of("simd_arrays_per_engine");
    let engines = (of("array_count") / arrays / xccs).max(1);
    Geometry::even(
        xccs,
        (engines, arrays),
        of("simd_count") / of("simd_per_cu") / xccs,
        gfx >= 100_000,
    )
}

fn parse(text: &str) -> HashMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn read(path: &Path) -> Result<String, ModelError> {
    fs::read_to_string(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}
