//! What programs take of a GPU's memory for themselves, before their data. Pure.
//!
//! A compute queue brings a save area along, into which the hardware writes the state of every wave when the queue has to
//! give way. libhsakmt makes it in the GPU's memory, so it is the slice's.

use crate::compute::grid::CuGrid;
use crate::units::Bytes;

/// What ROCr keeps for the scratch of kernels where eight times as much is free. Source: ROCr, flag.h,
/// `DEFAULT_SCRATCH_SINGLE_LIMIT`; amd_gpu_agent.cpp, `ReserveScratch()`.
const SCRATCH: u64 = 146_800_640;
/// Code, signals and the first blocks of memory: 2 to 6 MiB were measured with ROCm 7.2.
const PROGRAM: u64 = 8 << 20;
/// Queues of a HIP program that fills memory once, as measured with ROCm 7.2.
const QUEUES: u64 = 2;
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// The chip, as far as it decides the size of a save area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chip {
    /// `gfx_target_version` of the topology.
    pub gfx: u32,
    /// `lds_size_in_kb` of the topology.
    pub lds_kib: u32,
}

/// What programs take of a GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of a compute queue's save area.
    pub queue: u64,
}

impl Needs {
    /// As the kernel demands and libhsakmt makes it. Sources: Linux, kfd_queue.c, `kfd_queue_ctx_save_restore_size()`;
    /// libhsakmt, queues.c, `update_ctx_save_restore_size()`.
    pub fn of(grid: &CuGrid, chip: Chip) -> Self {
        let xccs = u64::from(grid.xccs.max(1));
        let units = u64::from(grid.active_units) / xccs;
        let waves = match chip.gfx {
            ..100_100 => (units * 40).min(u64::from(grid.engines) * xccs * 512),
            _ => units * 32,
        };
        let state_of_units = (units * state_of_unit(chip)).next_multiple_of(PAGE);
        let stack_of_wave = if chip.gfx >= 100_100 { 12 } else { 8 };
        let stack = (40 + waves * stack_of_wave + 8).next_multiple_of(PAGE);
        // The hardware of gfx10 uses no more.
        let stack = if chip.gfx / 10_000 == 10 {
            stack.min(0x7000)
        } else {
            stack
        };
        let debugger = (waves * 32).next_multiple_of(64);
        Self {
            queue: ((stack + state_of_units + debugger) * xccs).next_multiple_of(PAGE),
        }
    }

    /// The least useful slice, in whole MiB: what a small HIP program takes before its data.
    pub fn least_useful(&self) -> u64 {
        (QUEUES * self.queue + SCRATCH + PROGRAM).next_multiple_of(MIB)
    }

    /// What the least useful slice is made of, for people.
    pub fn parts(&self) -> String {
        format!(
            "{QUEUES} compute queues of {}, {} for scratch, {} for itself",
            Bytes(self.queue),
            Bytes(SCRATCH),
            Bytes(PROGRAM)
        )
    }
}

/// Registers and LDS of a compute unit.
fn state_of_unit(chip: Chip) -> u64 {
    let vector_registers = match chip.gfx {
        90_400..=90_499 | 90_010 | 90_008 | 90_500 => 0x80000,
        110_000 | 110_001 | 110_501 | 120_000 | 120_001 => 0x60000,
        _ => 0x40000,
    };
    let lds = match chip.gfx {
        90_500 => u64::from(chip.lds_kib) << 10,
        _ => 0x10000,
    };
    vector_registers + 0x4000 + lds + 0x1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(xccs: u32, engines: u32, active_units: u32, paired: bool) -> CuGrid {
        let (arrays, slots) = if paired { (2, 8) } else { (1, 16) };
        CuGrid {
            xccs,
            engines,
            arrays,
            slots,
            active_units,
            paired,
        }
    }

    #[test]
    fn the_save_area_is_as_large_as_the_kernel_demands() {
        let needs = |grid: CuGrid, gfx, lds_kib| Needs::of(&grid, Chip { gfx, lds_kib }).queue;
        // What queues took of slices on simulated devices, whose CREATE_QUEUE checks sizes as the kernel does.
        assert_eq!(needs(grid(8, 4, 304, false), 90_402, 64), 186_019_840);
        assert_eq!(needs(grid(1, 8, 104, false), 90_010, 64), 63_639_552);
        assert_eq!(needs(grid(1, 6, 96, true), 110_000, 64), 46_145_536);
        // MI350X: 160 KiB of LDS.
        assert_eq!(needs(grid(8, 4, 256, false), 90_500, 160), 181_829_632);
    }

    #[test]
    fn the_least_useful_slice_is_told_with_its_parts() {
        let chip = Chip {
            gfx: 90_402,
            lds_kib: 64,
        };
        let needs = Needs::of(&grid(8, 4, 304, false), chip);
        assert_eq!(Bytes(needs.least_useful()).to_string(), "503Mi");
        assert_eq!(
            needs.parts(),
            "2 compute queues of 177.4Mi, 140Mi for scratch, 8Mi for itself"
        );
    }
}
