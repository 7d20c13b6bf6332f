//! The boards' own figures: busy, power, temperature, memory in use by anybody. From sysfs, as amdgpu says them; where
//! the configuration says so, from libamd_smi, and from sysfs what that does not say.
//!
//! Source: Linux, Documentation/gpu/amdgpu/thermal.rst (`gpu_busy_percent`, hwmon) and driver-misc.rst (mem_info_*).

use std::fmt;
use std::path::Path;

use sdg::config::Config;
use sdg::files::{Dir, below};
use sdg::inventory::{Gpu, Inventory};

use super::encode::{Family, Labels, Writer};
use super::gpus::label;

/// What a board says of itself; none where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Board {
    /// Part of the time that the GPU was busy, 0 … 1.
    pub busy: Option<f64>,
    /// Watts.
    pub power: Option<f64>,
    /// Degrees Celsius at the edge, else at the hottest sensor.
    pub temperature: Option<f64>,
    /// Bytes in use by anybody, slices or not.
    pub memory_used: Option<f64>,
}

impl Board {
    /// What this one says, and what another says where this one is silent.
    fn or(self, other: Self) -> Self {
        Self {
            busy: self.busy.or(other.busy),
            power: self.power.or(other.power),
            temperature: self.temperature.or(other.temperature),
            memory_used: self.memory_used.or(other.memory_used),
        }
    }
}

/// Where figures come from.
#[derive(Debug, Default)]
pub struct Boards {
    #[cfg(feature = "amd-smi")]
    library: Option<crate::amd_smi::AmdSmi>,
}

impl Boards {
    /// Opens libamd_smi if the configuration says so. Where it cannot be had sysfs remains.
    #[cfg(feature = "amd-smi")]
    pub fn open(config: &Config) -> Self {
        let library = config
            .amd_smi
            .then(crate::amd_smi::AmdSmi::open)
            .and_then(|opened| {
                opened
                    .inspect_err(|error| tracing::warn!(%error, "figures of boards from sysfs alone"))
                    .ok()
            });
        Self { library }
    }

    /// This program was built without libamd_smi.
    #[cfg(not(feature = "amd-smi"))]
    pub fn open(config: &Config) -> Self {
        if config.amd_smi {
            tracing::warn!("amd_smi: this sdg-agent is built without it; figures of boards from sysfs alone");
        }
        Self::default()
    }

    /// Reads the figures of a GPU's board.
    pub fn read(&self, sysroot: &Path, gpu: &Gpu) -> Board {
        let device = gpu.device_dir.as_ref();
        let in_sysfs = device.map_or_else(Board::default, |device| of_device(&below(sysroot, device)));
        self.in_library(gpu).or(in_sysfs)
    }

    #[cfg(feature = "amd-smi")]
    fn in_library(&self, gpu: &Gpu) -> Board {
        let library = self.library.as_ref();
        library.map_or_else(Board::default, |library| library.board(gpu.pci))
    }

    #[cfg(not(feature = "amd-smi"))]
    fn in_library(&self, _: &Gpu) -> Board {
        Board::default()
    }
}

fn of_device(path: &Path) -> Board {
    let Ok(device) = Dir::open(path) else {
        return Board::default();
    };
    let mut board = Board {
        busy: number(&device, "gpu_busy_percent", 100.0),
        memory_used: number(&device, "mem_info_vram_used", 1.0),
        ..Board::default()
    };
    if let Some(sensors) = sensors(path) {
        let first = |names: [&str; 2], unit| names.iter().find_map(|name| number(&sensors, name, unit));
        // Microwatts and thousandths of a degree.
        board.power = first(["power1_average", "power1_input"], 1e6);
        board.temperature = first(["temp1_input", "temp2_input"], 1e3);
    }
    board
}

/// A file's number in base units, of which `unit` of the file's make one.
fn number(directory: &Dir, name: &str, unit: f64) -> Option<f64> {
    let text = directory.read_optional(name).ok()??;
    text.parse::<f64>().ok().map(|number| number / unit)
}

/// The one directory below `hwmon/`, whose number changes from boot to boot.
fn sensors(device: &Path) -> Option<Dir> {
    let mut entries = std::fs::read_dir(device.join("hwmon")).ok()?;
    Dir::open(&entries.next()?.ok()?.path()).ok()
}

/// A figure of a board.
type Figure = (Family, fn(&Board) -> Option<f64>);

const FIGURES: [Figure; 4] = [
    (
        Family(
            "board_busy_ratio",
            "Part of the time that the GPU was busy, 0 to 1",
        ),
        |board| board.busy,
    ),
    (
        Family("board_power_watts", "Power that the board draws"),
        |board| board.power,
    ),
    (
        Family("board_temperature_celsius", "Temperature of the GPU"),
        |board| board.temperature,
    ),
    (
        Family(
            "board_memory_used_bytes",
            "Memory of the GPU in use by anybody, slices or not",
        ),
        |board| board.memory_used,
    ),
];

/// Writes what the boards said; a family that no board has is left out.
pub fn write((inventory, boards): (&Inventory, &[Board]), writer: &mut Writer<'_>) -> fmt::Result {
    for (family, figure) in FIGURES {
        let said = inventory.gpus.iter().zip(boards);
        let said: Vec<(Labels, f64)> = said
            .filter_map(|(gpu, board)| Some((label(gpu), figure(board)?)))
            .collect();
        if !said.is_empty() {
            writer.gauges(family, said)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_base_units_and_absent_where_the_board_is_silent() {
        let device = tempfile::tempdir().unwrap();
        let sensors = device.path().join("hwmon/hwmon3");
        std::fs::create_dir_all(&sensors).unwrap();
        std::fs::write(device.path().join("gpu_busy_percent"), "42\n").unwrap();
        std::fs::write(sensors.join("power1_input"), "153000000\n").unwrap();
        std::fs::write(sensors.join("temp2_input"), "41000\n").unwrap();
        let expected = Board {
            busy: Some(0.42),
            power: Some(153.0),
            temperature: Some(41.0),
            memory_used: None,
        };
        assert_eq!(of_device(device.path()), expected);
        let said_elsewhere = Board {
            power: Some(1.0),
            memory_used: Some(7.0),
            ..Board::default()
        };
        let both = said_elsewhere.or(of_device(device.path()));
        assert_eq!(
            (both.busy, both.power, both.memory_used),
            (Some(0.42), Some(1.0), Some(7.0))
        );
        assert_eq!(of_device(Path::new("/nonexistent")), Board::default());
    }
}
