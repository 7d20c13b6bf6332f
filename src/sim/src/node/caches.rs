//! The caches of a GPU, as the KFD lists them in its topology.

use crate::gpu::Gpu;
use crate::preset::Preset;

/// `type` of a cache (kfd_crat.h: CRAT_CACHE_FLAGS_*, as kfd_topology.h's HSA_CACHE_TYPE_*).
const DATA: u32 = 0x1;
const INSTRUCTION: u32 = 0x2;
const GPU: u32 = 0x8;

/// One cache; it serves `shared_by` compute units.
pub(super) struct Cache {
    processor_id: u32,
    level: u32,
    kib: u32,
    line_bytes: u32,
    kind: u32,
    shared_by: u32,
}

impl Cache {
    /// Contents of the cache's `properties`.
    pub fn text(&self) -> String {
        let map = vec!["1"; self.shared_by as usize].join(",");
        format!(
            "processor_id_low {}\nlevel {}\nsize {}\ncache_line_size {}\ncache_lines_per_tag 1\nassociation 0\n\
             latency 0\ntype {}\nsibling_map {map}\n",
            self.processor_id, self.level, self.kib, self.line_bytes, self.kind
        )
    }
}

/// Lists them: a vector cache for each compute unit in service; instruction and scalar caches for each group of slots,
/// used or not (the counts of captured nodes show that); a cache for each RDNA shader array; L2; Infinity Cache.
pub(super) fn of(preset: &Preset, gpu: &Gpu) -> Vec<Cache> {
    let arrays = gpu.xcc * preset.shader_engines * preset.arrays_per_engine;
    let (units, group) = (gpu.xcc * preset.active_cus, preset.cus_per_scalar_cache);
    let groups = arrays * preset.cu_slots.div_ceil(group);
    let kinds = [
        (units, 1, preset.l1_kib, DATA | GPU, 1),
        (groups, 1, preset.instruction_cache_kib, INSTRUCTION | GPU, group),
        (groups, 1, preset.scalar_cache_kib, DATA | GPU, group),
        (arrays, 1, preset.gl1_kib, DATA | GPU, preset.cu_slots),
        (1, 2, preset.l2_kib, DATA | GPU, units),
        (1, 3, preset.l3_kib, DATA | GPU, units),
    ];
    let present = kinds.into_iter().filter(|(_, _, kib, ..)| *kib > 0);
    present
        .flat_map(|(count, level, kib, kind, shared_by)| {
            (0..count).map(move |index| Cache {
                processor_id: gpu.simd_id_base + index * shared_by,
                level,
                kib,
                line_bytes: preset.cache_line_bytes,
                kind,
                shared_by,
            })
        })
        .collect()
}
