//! AMDGPU_INFO: what libdrm, Mesa and the SMI tools ask a render node. Source: Linux, amdgpu_drm.h and amdgpu_kms.c.

use nix::errno::Errno;
use sdg_abi::Plain;
use sdg_abi::drm::{HeapInfo, InfoMemory, InfoVramGtt, info};

use super::args::Args;
use super::machine::{Gpu, Machine};
use super::{Refusal, refuse};
use crate::engine::{CLOCK_HZ, gpu_clock};
use crate::tracee::Caller;

/// Further queries: `AMDGPU_INFO_*`.
const HW_IP_INFO: u32 = 0x02;
const HW_IP_COUNT: u32 = 0x03;
const TIMESTAMP: u32 = 0x05;
const FW_VERSION: u32 = 0x0e;
const NUM_BYTES_MOVED: u32 = 0x0f;
const NUM_EVICTIONS: u32 = 0x18;
const VBIOS: u32 = 0x1b;
const SENSOR: u32 = 0x1d;
const NUM_VRAM_CPU_PAGE_FAULTS: u32 = 0x1e;
const VRAM_LOST_COUNTER: u32 = 0x1f;
const RAS_ENABLED_FEATURES: u32 = 0x20;
/// `AMDGPU_INFO_FW_*` that have a version in the topology.
const FW_GFX_MEC: u32 = 0x08;
const FW_SDMA: u32 = 0x0b;
/// `AMDGPU_INFO_SENSOR_*`: clocks in MHz, temperature in thousandths of a degree, load in percent, power in watts.
const SENSOR_SCLK: u32 = 0x1;
const SENSOR_MCLK: u32 = 0x2;
const SENSOR_TEMPERATURE: u32 = 0x3;
const SENSOR_LOAD: u32 = 0x4;
const SENSOR_POWER: u32 = 0x5;
/// `AMDGPU_HW_IP_COMPUTE` and `AMDGPU_HW_IP_DMA`.
const IP_COMPUTE: u32 = 1;
const IP_DMA: u32 = 2;
/// GTT of a GPU: what Linux gives by default on a machine with much memory.
const GTT_BYTES: u64 = 256 << 30;
/// `struct drm_amdgpu_info_device` up to `tcc_disabled_mask`.
const DEVICE_BYTES: usize = 368;
/// Virtual addresses for user space: from above the reserved bottom up to the hole, and above it.
const VM_FIRST: u64 = 2 << 20;
const VM_LAST: u64 = 1 << 47;
const VM_HIGH_FIRST: u64 = 0xffff_8000_0000_0000;
const VM_HIGH_LAST: u64 = 0xffff_ffff_ffe0_0000;

impl Machine {
    /// AMDGPU_INFO.
    pub fn info(&mut self, caller: &Caller<'_>, gpu: usize, args: &Args) -> Result<(), Refusal> {
        let (pointer, room, query) = (args.u64(0), args.u32(8) as usize, args.u32(12));
        let device = self
            .gpus
            .get(gpu)
            .ok_or_else(|| refuse(Errno::EINVAL, "no such GPU"))?;
        let unknown = || {
            refuse(
                Errno::EINVAL,
                format!("AMDGPU_INFO {query:#x} ({:#x})", args.u32(16)),
            )
        };
        if room == 0 || pointer == 0 {
            return Err(refuse(Errno::EINVAL, "AMDGPU_INFO without room for the answer"));
        }
        let answer = match query {
            info::READ_MMR_REG => registers(args.u32(20))?,
            _ => answer(device, query, args).ok_or_else(unknown)?,
        };
        caller.write(pointer, answer.get(..room.min(answer.len())).unwrap_or_default())
    }
}

/// Registers have no content here: as many zeroes as are asked for.
fn registers(count: u32) -> Result<Vec<u8>, Refusal> {
    match count {
        1..=128 => Ok(vec![0; count as usize * 4]),
        _ => Err(refuse(Errno::EINVAL, format!("{count} registers"))),
    }
}

fn answer(gpu: &Gpu, query: u32, args: &Args) -> Option<Vec<u8>> {
    let memory = &gpu.memory;
    Some(match query {
        info::ACCEL_WORKING => 1u32.to_le_bytes().to_vec(),
        HW_IP_INFO => hw_ip(gpu, args.u32(16)),
        HW_IP_COUNT => u32::from(matches!(args.u32(16), IP_COMPUTE | IP_DMA))
            .to_le_bytes()
            .to_vec(),
        TIMESTAMP => gpu_clock().to_le_bytes().to_vec(),
        FW_VERSION => firmware(gpu, args.u32(16)),
        info::VRAM_USAGE | info::VIS_VRAM_USAGE => memory.used().to_le_bytes().to_vec(),
        info::GTT_USAGE | NUM_BYTES_MOVED | NUM_EVICTIONS | NUM_VRAM_CPU_PAGE_FAULTS => vec![0; 8],
        RAS_ENABLED_FEATURES => vec![0; 8],
        VRAM_LOST_COUNTER => vec![0; 4],
        VBIOS => return vbios(args.u32(16)),
        info::VRAM_GTT => InfoVramGtt {
            vram_size: memory.total(),
            vram_cpu_accessible_size: memory.total(),
            gtt_size: GTT_BYTES,
        }
        .as_bytes()
        .to_vec(),
        info::DEV_INFO => device_info(gpu),
        info::MEMORY => memory_info(gpu).as_bytes().to_vec(),
        SENSOR => sensor(gpu, args.u32(16))?.to_le_bytes().to_vec(),
        _ => return None,
    })
}

fn heap(total: u64, usage: u64) -> HeapInfo {
    HeapInfo {
        total_heap_size: total,
        usable_heap_size: total,
        heap_usage: usage,
        max_allocation: total / 4 * 3,
    }
}

fn memory_info(gpu: &Gpu) -> InfoMemory {
    let vram = heap(gpu.memory.total(), gpu.memory.used());
    InfoMemory {
        vram,
        cpu_accessible_vram: vram,
        gtt: heap(GTT_BYTES, 0),
    }
}

/// `struct drm_amdgpu_info_hw_ip`: version, capabilities (64 bits), two alignments, and a bit for each ring.
fn hw_ip(gpu: &Gpu, kind: u32) -> Vec<u8> {
    let mut out = Args(vec![0; 32]);
    if matches!(kind, IP_COMPUTE | IP_DMA) {
        out.set_u32(0, gpu.model.gfx / 10_000);
        out.set_u32(4, gpu.model.gfx / 100 % 100);
        out.set_u32(16, 32);
        out.set_u32(20, 32);
        out.set_u32(24, 1);
    }
    out.0
}

/// `struct drm_amdgpu_info_firmware`: version and feature.
fn firmware(gpu: &Gpu, kind: u32) -> Vec<u8> {
    let key = match kind {
        FW_GFX_MEC => "fw_version",
        FW_SDMA => "sdma_fw_version",
        _ => return vec![0; 8],
    };
    (gpu.model.property(key) & 0xffff_ffff).to_le_bytes().to_vec()
}

/// The VBIOS' size (0: there is none); its image and its description do not exist.
fn vbios(kind: u32) -> Option<Vec<u8>> {
    const SIZE: u32 = 1;
    const DESCRIPTION: u32 = 3;
    /// `struct drm_amdgpu_info_vbios`: name, part number, version, two numbers, date.
    const DESCRIPTION_BYTES: usize = 64 + 64 + 4 + 4 + 32 + 32;
    match kind {
        SIZE => Some(vec![0; 4]),
        DESCRIPTION => Some(vec![0; DESCRIPTION_BYTES]),
        _ => None,
    }
}

fn sensor(gpu: &Gpu, kind: u32) -> Option<u32> {
    match kind {
        SENSOR_SCLK => Some(gpu.model.property("max_engine_clk_fcompute") as u32),
        SENSOR_MCLK => Some(gpu.model.memory_clock_mhz as u32),
        SENSOR_TEMPERATURE => Some(40_000),
        SENSOR_LOAD => Some(0),
        SENSOR_POWER => Some(140),
        _ => None,
    }
}

/// `AMDGPU_FAMILY_*` of a target.
fn family(gfx: u32) -> u32 {
    match gfx / 10_000 {
        12 => 152,
        11 => 145,
        10 => 143,
        _ => 141,
    }
}

/// `struct drm_amdgpu_info_device`, by the offsets of its fields.
fn device_info(gpu: &Gpu) -> Vec<u8> {
    let model = &gpu.model;
    let geometry = &model.geometry;
    let mut out = Args(vec![0; DEVICE_BYTES]);
    let engines = geometry.active.len() as u32;
    let arrays = geometry.active.first().map_or(1, Vec::len) as u32;
    let khz = |mhz: u64| mhz * 1000;
    let words = [
        (0, model.device_id),
        (4, 1),
        (8, 1),
        (12, model.pci_revision),
        (16, family(model.gfx)),
        (20, engines),
        (24, arrays),
        (28, (CLOCK_HZ / 1000) as u32),
        (48, geometry.units()),
        (124, 0),
        (128, 8),
        (160, 4096),
        (164, 2 << 20),
        (168, 4096),
        (176, if model.gfx >= 100_000 { 9 } else { 6 }),
        (180, model.memory_width_bits as u32),
        (240, model.property("wave_front_size") as u32),
        (244, 256),
        (248, model.property("cu_per_simd_array") as u32),
        (252, 16),
    ];
    words.into_iter().for_each(|(at, value)| out.set_u32(at, value));
    let longs = [
        (32, khz(model.property("max_engine_clk_fcompute"))),
        (40, khz(model.memory_clock_mhz)),
        (144, VM_FIRST),
        (152, VM_LAST),
        (336, VM_HIGH_FIRST),
        (344, VM_HIGH_LAST),
    ];
    longs.into_iter().for_each(|(at, value)| out.set_u64(at, value));
    set_cu_bitmap(&mut out, gpu);
    out.0
}

/// `cu_bitmap[4][4]`: engines from the fifth on are in the columns that arrays leave free.
fn set_cu_bitmap(out: &mut Args, gpu: &Gpu) {
    const BITMAP: usize = 56;
    let column_step = if (110_000..130_000).contains(&gpu.model.gfx) {
        2
    } else {
        1
    };
    for (engine, arrays) in gpu.model.geometry.active.iter().enumerate() {
        for (array, units) in arrays.iter().enumerate() {
            let (row, column) = (engine % 4, array + engine / 4 * column_step);
            if column < 4 {
                out.set_u32(BITMAP + (row * 4 + column) * 4, (1u32 << units) - 1);
            }
        }
    }
}
