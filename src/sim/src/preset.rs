//! Presets: a node's GPUs as data (`presets/*.toml`), with single values changed by `KEY=VALUE`.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::block::Block;

/// The presets that are built in, by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("mi300x", include_str!("../presets/mi300x.toml")),
    ("mi300x-8", include_str!("../presets/mi300x-8.toml")),
    ("mi300x-8-cpx", include_str!("../presets/mi300x-8-cpx.toml")),
    ("mi325x", include_str!("../presets/mi325x.toml")),
    ("mi308x-cpx", include_str!("../presets/mi308x-cpx.toml")),
    ("mi250", include_str!("../presets/mi250.toml")),
    ("mi210-4", include_str!("../presets/mi210-4.toml")),
    ("rx7900xtx", include_str!("../presets/rx7900xtx.toml")),
];

/// The key by which a preset's file names another that it starts from.
const BASE_KEY: &str = "base";

/// Most GPUs (partitions counted) of a node: the DRM's 64 render nodes, minors 128 to 191.
pub const MAX_GPUS: u32 = 64;

/// Why a preset could not be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    /// No preset of that name.
    #[error("no preset {name:?}; there are: {known}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A built-in preset's text is wrong: a defect of this program.
    #[error("preset {name}: {reason}")]
    Invalid {
        /// The preset.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A change that is not of the form KEY=VALUE.
    #[error("--set {0}: expected KEY=VALUE")]
    NoValue(String),
    /// A change of a key that no preset has.
    #[error("--set {key}: no such key; accepted: {known}")]
    UnknownKey {
        /// The key given.
        key: String,
        /// The keys there are.
        known: String,
    },
    /// A change to a value that the key cannot have.
    #[error("--set {key}={value}: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// The value given.
        value: String,
        /// Why not, and what would do.
        reason: String,
    },
}

/// How the extra partitions' platform devices are spelled in sysfs: kernels differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XcpSpelling {
    /// `amdgpu_xcp_0`
    Underscore,
    /// `amdgpu_xcp.0`
    Dot,
}

/// A node of simulated GPUs: every value that its sysfs files and its device model are made from.
///
/// Units are in the names. Figures of the GPU's geometry are those of the whole card before partitioning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The product's name, as libdrm's table has it.
    pub product: String,
    /// The topology node's `name`: the code name, or "ip discovery" on newer hardware.
    pub node_name: String,
    /// GPUs (PCI devices) of the node.
    pub gpus: u32,
    /// CPU sockets (NUMA nodes); the GPUs are spread evenly over them.
    pub cpus: u32,
    /// Cores of each socket.
    pub cpu_cores: u32,
    /// Highest clock of the CPUs.
    pub cpu_clock_mhz: u32,
    /// Memory of each socket.
    pub cpu_memory_bytes: u64,
    /// PCI bus numbers of the GPUs; GPUs beyond the list continue after its last.
    pub pci_buses: Vec<u8>,
    /// What the PCIe link to the CPU guarantees, in MB/s.
    pub pcie_min_bandwidth: u32,
    /// What the PCIe link to the CPU can carry, in MB/s.
    pub pcie_max_bandwidth: u32,
    /// PCI device id.
    pub device_id: u32,
    /// PCI revision.
    pub revision: u32,
    /// PCI class code: 0x120000 accelerator, 0x030000 VGA, 0x038000 other display controller.
    pub pci_class: u32,
    /// PCI subsystem device id; the subsystem's vendor is AMD.
    pub subsystem_id: u32,
    /// Compute partition mode in force: SPX, DPX, TPX, QPX or CPX.
    pub compute_partition: String,
    /// Compute partition modes the GPU has.
    pub compute_partitions: Vec<String>,
    /// Memory partition mode in force: NPS1, NPS2, NPS4 or NPS8.
    pub memory_partition: String,
    /// Memory partition modes the GPU has.
    pub memory_partitions: Vec<String>,
    /// Spelling of the extra partitions' device names.
    pub xcp_spelling: XcpSpelling,
    /// XCCs of a GPU.
    pub xcc: u32,
    /// Shader engines of an XCC.
    pub shader_engines: u32,
    /// Shader arrays of an engine.
    pub arrays_per_engine: u32,
    /// Places for compute units in an array.
    pub cu_slots: u32,
    /// Compute units in service in an XCC.
    pub active_cus: u32,
    /// SIMD units of a compute unit.
    pub simds_per_cu: u32,
    /// Waves that a SIMD unit holds.
    pub max_waves_per_simd: u32,
    /// Lanes of a wave.
    pub wave_front_size: u32,
    /// Local data share of a compute unit.
    pub lds_kib: u32,
    /// Global wave sync resources.
    pub gws: u32,
    /// The target as the KFD writes it: major × 10000 + minor × 100 + stepping.
    pub gfx_target_version: u32,
    /// Video memory of a GPU.
    pub memory_bytes: u64,
    /// Width of the memory bus.
    pub memory_width_bits: u32,
    /// Highest memory clock.
    pub memory_clock_mhz: u32,
    /// Highest engine clock.
    pub engine_clock_mhz: u32,
    /// Power that the card may draw.
    pub power_cap_watts: u32,
    /// Version of the compute microcode.
    pub fw_version: u32,
    /// Version of the SDMA microcode.
    pub sdma_fw_version: u32,
    /// The KFD's capability bits.
    pub capability: u32,
    /// The KFD's debug property bits.
    pub debug_prop: u64,
    /// SDMA engines of a GPU, those for XGMI included.
    pub sdma_engines: u32,
    /// Queues of an SDMA engine.
    pub sdma_queues_per_engine: u32,
    /// Hardware queues for compute.
    pub cp_queues: u32,
    /// GPUs that are linked by XGMI with one another; 1 where there is none.
    pub hive_size: u32,
    /// The KFD's weight of an XGMI link between two GPUs.
    pub xgmi_weight: u32,
    /// Bandwidth of an XGMI link between two GPUs, in MB/s.
    pub xgmi_bandwidth: u32,
    /// Size of a cache line.
    pub cache_line_bytes: u32,
    /// Vector data cache of a compute unit.
    pub l1_kib: u32,
    /// Instruction cache, shared by `cus_per_scalar_cache` units.
    pub instruction_cache_kib: u32,
    /// Scalar data cache, shared by `cus_per_scalar_cache` units.
    pub scalar_cache_kib: u32,
    /// Compute units that share an instruction and a scalar cache.
    pub cus_per_scalar_cache: u32,
    /// Cache of a shader array (RDNA); 0 for none.
    pub gl1_kib: u32,
    /// Second level cache.
    pub l2_kib: u32,
    /// Infinity Cache; 0 for none.
    pub l3_kib: u32,
    /// Instances of the chip's blocks as `NAME HW_ID VERSION BASE_ADDRESS…`, those of a kind in order; none where the
    /// chip's table of them is not in sysfs.
    pub ip_versions: Vec<String>,
    /// Major number of /dev/kfd; 0 takes one that is free on this machine.
    pub kfd_major: u32,
}

impl Preset {
    /// Names of the built-in presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in preset of that name.
    pub fn named(name: &str) -> Result<Self, PresetError> {
        let invalid = |reason: String| PresetError::Invalid {
            name: name.to_owned(),
            reason,
        };
        let preset: Self = table(name)?
            .try_into()
            .map_err(|error: toml::de::Error| invalid(one_line(&error)))?;
        preset
            .check()
            .map_err(|fault| invalid(format!("{}: {}", fault.key, fault.reason)))?;
        Ok(preset)
    }

    /// Changes one value, given as `KEY=VALUE`. The preset is unchanged where this fails.
    pub fn set(&mut self, change: &str) -> Result<(), PresetError> {
        self.set_all(&[change])
    }

    /// Makes several changes that only need to be consistent together, such as a mode and the list it is in.
    pub fn set_all<S: AsRef<str>>(&mut self, changes: &[S]) -> Result<(), PresetError> {
        let mut preset = self.clone();
        for change in changes {
            preset = preset.changed(change.as_ref())?;
        }
        preset.check().map_err(|fault| fault.blame(changes))?;
        *self = preset;
        Ok(())
    }

    /// Partitions of each GPU in the compute mode in force.
    pub fn partitions(&self) -> u32 {
        partitions_of(&self.compute_partition, self.xcc).unwrap_or(1)
    }

    /// XCCs of one partition.
    pub fn xcc_per_partition(&self) -> u32 {
        self.xcc / self.partitions()
    }

    /// Compute units of each shader engine of an XCC: the first engines have one more where they cannot be equal.
    pub fn cus_of_engines(&self) -> Vec<u32> {
        let (all, engines) = (self.active_cus, self.shader_engines);
        (0..engines)
            .map(|engine| all / engines + u32::from(engine < all % engines))
            .collect()
    }

    fn table(&self) -> Table {
        Table::try_from(self).unwrap_or_default()
    }

    fn changed(&self, change: &str) -> Result<Self, PresetError> {
        let (key, text) = change
            .split_once('=')
            .ok_or_else(|| PresetError::NoValue(change.to_owned()))?;
        let mut table = self.table();
        let bad = |reason| PresetError::BadValue {
            key: key.to_owned(),
            value: text.to_owned(),
            reason,
        };
        let Some(old) = table.get(key) else {
            let known = table.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(PresetError::UnknownKey {
                key: key.to_owned(),
                known,
            });
        };
        let new = parse_like(old, text).ok_or_else(|| bad(format!("expected {}", describe(old))))?;
        table.insert(key.to_owned(), new);
        table
            .try_into()
            .map_err(|error: toml::de::Error| bad(one_line(&error)))
    }

    /// What has to hold between the values, so that a sysroot can be made from them.
    fn check(&self) -> Result<(), Fault> {
        let fault = |key, reason: String| Err(Fault { key, reason });
        for (key, value, most) in [
            ("gpus", self.gpus, MAX_GPUS),
            ("cpus", self.cpus, 8),
            ("xcc", self.xcc, 32),
            ("shader_engines", self.shader_engines, 32),
            ("arrays_per_engine", self.arrays_per_engine, 8),
            ("cu_slots", self.cu_slots, 64),
            (
                "active_cus",
                self.active_cus,
                self.shader_engines * self.arrays_per_engine * self.cu_slots,
            ),
            ("simds_per_cu", self.simds_per_cu, 16),
            ("cus_per_scalar_cache", self.cus_per_scalar_cache, 16),
            ("hive_size", self.hive_size, MAX_GPUS),
            ("device_id", self.device_id, 0xffff),
            ("subsystem_id", self.subsystem_id, 0xffff),
        ] {
            if value == 0 || value > most {
                return fault(key, format!("expected 1 to {most}"));
            }
        }
        if self.kfd_major > 511 {
            return fault("kfd_major", "expected 0 (any that is free) to 511".into());
        }
        if let Some(line) = self.ip_versions.iter().find(|line| Block::parse(line).is_none()) {
            return fault("ip_versions", format!("{line:?}: expected {}", Block::FORM));
        }
        if !self.compute_partitions.contains(&self.compute_partition) {
            let accepted = self.compute_partitions.join(", ");
            return fault("compute_partition", format!("this GPU has: {accepted}"));
        }
        if !self.memory_partitions.contains(&self.memory_partition) {
            let accepted = self.memory_partitions.join(", ");
            return fault("memory_partition", format!("this GPU has: {accepted}"));
        }
        let Some(partitions) = partitions_of(&self.compute_partition, self.xcc) else {
            return fault(
                "compute_partition",
                format!("{} XCCs cannot be divided like that", self.xcc),
            );
        };
        if self.gpus * partitions > MAX_GPUS {
            let most = MAX_GPUS / partitions;
            return fault(
                "gpus",
                format!("a node has at most {MAX_GPUS} partitions, so 1 to {most} of these"),
            );
        }
        if self.memory_bytes < 1 << 30 {
            return fault("memory_bytes", "expected at least 1073741824 (1 GiB)".into());
        }
        let first = self.pci_buses.last().map_or(0, |bus| u32::from(*bus));
        let beyond = self.gpus.saturating_sub(self.pci_buses.len() as u32);
        if self.pci_buses.is_empty() || first + beyond > 0xff {
            return fault(
                "pci_buses",
                "expected a bus number, 1 to 255, for each GPU".into(),
            );
        }
        Ok(())
    }
}

/// A value that cannot be, and why.
struct Fault {
    key: &'static str,
    reason: String,
}

impl Fault {
    /// The error for the change that set the faulty key, or else for the last one made.
    fn blame<S: AsRef<str>>(&self, changes: &[S]) -> PresetError {
        let pairs = || {
            changes
                .iter()
                .filter_map(|change| change.as_ref().split_once('='))
        };
        let own = pairs().filter(|(key, _)| *key == self.key).last();
        let (key, value) = own.or(pairs().last()).unwrap_or((self.key, ""));
        let prefix = if key == self.key {
            String::new()
        } else {
            format!("{}: ", self.key)
        };
        PresetError::BadValue {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: format!("{prefix}{}", self.reason),
        }
    }
}

/// The table of a built-in preset, laid over those of the presets it is based on.
fn table(name: &str) -> Result<Table, PresetError> {
    let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
        let known = Preset::names().collect::<Vec<_>>().join(", ");
        return Err(PresetError::UnknownName {
            name: name.to_owned(),
            known,
        });
    };
    let mut own: Table = text
        .parse()
        .map_err(|error: toml::de::Error| PresetError::Invalid {
            name: name.to_owned(),
            reason: one_line(&error),
        })?;
    let Some(Value::String(base)) = own.remove(BASE_KEY) else {
        return Ok(own);
    };
    let mut whole = table(&base)?;
    whole.extend(own);
    Ok(whole)
}

/// Partitions of a GPU of `xcc` XCCs in a compute mode; `None` where the mode does not divide them.
fn partitions_of(mode: &str, xcc: u32) -> Option<u32> {
    let count = match mode {
        "SPX" => 1,
        "DPX" => 2,
        "TPX" => 3,
        "QPX" => 4,
        "CPX" => xcc,
        _ => return None,
    };
    xcc.is_multiple_of(count).then_some(count)
}

/// Reads `text` as a value of the same type as `old`.
fn parse_like(old: &Value, text: &str) -> Option<Value> {
    if old.is_str() {
        return Some(Value::String(text.to_owned()));
    }
    let mut parsed: Table = format!("value = {text}").parse().ok()?;
    parsed
        .remove("value")
        .filter(|new| new.same_type(old) && parsed.is_empty())
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "a whole number",
        Value::Array(_) => "a list such as [1, 2]",
        _ => "a text",
    }
}

/// An error of the TOML reader without the excerpt of the text.
fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join("; ")
}
