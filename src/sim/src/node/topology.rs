//! The KFD's topology directory. Formats: Linux, drivers/gpu/drm/amd/amdkfd/kfd_topology.c (the `*_show` functions).

use super::caches;
use super::tree::Tree;
use crate::gpu::{Gpu, gpus};
use crate::preset::Preset;

const TOPOLOGY: &str = "sys/devices/virtual/kfd/kfd/topology";

/// `heap_type` of a memory bank (uapi/linux/kfd_sysfs.h).
const HEAP_SYSTEM: u32 = 0;
const HEAP_FRAME_BUFFER_PUBLIC: u32 = 1;

/// `type` of a link (kfd_crat.h: CRAT_IOLINK_TYPE_*).
const LINK_HYPERTRANSPORT: u32 = 1;
const LINK_PCIE: u32 = 2;
const LINK_XGMI: u32 = 11;

/// SDMA engines that serve links other than XGMI: the KFD counts at most two.
const PCIE_SDMA_ENGINES: u32 = 2;

/// Plans the topology of all nodes.
pub(super) fn plan(preset: &Preset, tree: &mut Tree) {
    let gpus = gpus(preset);
    tree.value(format!("{TOPOLOGY}/generation_id"), 2);
    let system = [
        ("platform_oem", 35_498_446_626_881),
        ("platform_id", 0),
        ("platform_rev", 1),
    ];
    tree.file(format!("{TOPOLOGY}/system_properties"), lines(&system));
    for cpu in 0..preset.cpus {
        let links = cpu_links(preset, &gpus, cpu);
        let dir = format!("{TOPOLOGY}/nodes/{cpu}");
        tree.value(format!("{dir}/gpu_id"), 0);
        tree.file(format!("{dir}/name"), "\n");
        tree.file(
            format!("{dir}/properties"),
            lines(&cpu_properties(preset, cpu, &links)),
        );
        let bank = [
            ("heap_type", HEAP_SYSTEM.into()),
            ("size_in_bytes", preset.cpu_memory_bytes),
            ("flags", 0),
            ("width", 64),
            ("mem_clk_max", 3200),
        ];
        tree.file(format!("{dir}/mem_banks/0/properties"), lines(&bank));
        tree.directory(format!("{dir}/caches"));
        plan_links(tree, &dir, &links);
    }
    for gpu in &gpus {
        let links = gpu_links(preset, &gpus, gpu);
        let caches = caches::of(preset, gpu);
        let dir = format!("{TOPOLOGY}/nodes/{}", gpu.node);
        tree.value(format!("{dir}/gpu_id"), gpu.gpu_id);
        tree.value(format!("{dir}/name"), &preset.node_name);
        tree.file(
            format!("{dir}/properties"),
            lines(&gpu_properties(preset, gpu, (&links, caches.len()))),
        );
        let bank = [
            ("heap_type", HEAP_FRAME_BUFFER_PUBLIC.into()),
            ("size_in_bytes", gpu.memory_bytes),
            ("flags", 0),
            ("width", preset.memory_width_bits.into()),
            ("mem_clk_max", preset.memory_clock_mhz.into()),
        ];
        tree.file(format!("{dir}/mem_banks/0/properties"), lines(&bank));
        for (index, cache) in caches.iter().enumerate() {
            tree.file(format!("{dir}/caches/{index}/properties"), cache.text());
        }
        tree.directory(format!("{dir}/perf"));
        plan_links(tree, &dir, &links);
    }
}

/// A link of the topology, from the node whose directory it is in.
#[derive(Clone, Copy)]
struct Link {
    kind: u32,
    from: u32,
    to: u32,
    weight: u32,
    /// Lowest and highest, in MB/s.
    bandwidth: (u32, u32),
    sdma_engines: u32,
    flags: u32,
    /// Through the CPU: listed under `p2p_links`.
    indirect: bool,
}

fn plan_links(tree: &mut Tree, dir: &str, links: &[Link]) {
    for (name, indirect) in [("io_links", false), ("p2p_links", true)] {
        tree.directory(format!("{dir}/{name}"));
        for (index, link) in links.iter().filter(|link| link.indirect == indirect).enumerate() {
            tree.file(
                format!("{dir}/{name}/{index}/properties"),
                lines(&link_properties(link)),
            );
        }
    }
}

fn cpu_links(preset: &Preset, gpus: &[Gpu], cpu: u32) -> Vec<Link> {
    let sockets = (0..preset.cpus).filter(|other| *other != cpu).map(|other| Link {
        kind: LINK_HYPERTRANSPORT,
        from: cpu,
        to: other,
        weight: 32,
        bandwidth: (0, 0),
        sdma_engines: 0,
        flags: 0,
        indirect: false,
    });
    sockets
        .chain(gpus.iter().map(|gpu| Link {
            from: cpu,
            to: gpu.node,
            flags: 3,
            ..pcie(preset, gpu, cpu)
        }))
        .collect()
}

fn gpu_links(preset: &Preset, gpus: &[Gpu], gpu: &Gpu) -> Vec<Link> {
    let cpus = (0..preset.cpus).map(|cpu| Link {
        from: gpu.node,
        to: cpu,
        ..pcie(preset, gpu, cpu)
    });
    let peers = gpus
        .iter()
        .filter(|peer| peer.node != gpu.node)
        .map(|peer| peer_link(preset, gpu, peer));
    cpus.chain(peers).collect()
}

/// The link between a GPU and a CPU: direct only with its own.
fn pcie(preset: &Preset, gpu: &Gpu, cpu: u32) -> Link {
    let near = gpu.numa_node == cpu;
    Link {
        kind: LINK_PCIE,
        from: gpu.node,
        to: cpu,
        weight: if near { 20 } else { 52 },
        bandwidth: if near {
            (preset.pcie_min_bandwidth, preset.pcie_max_bandwidth)
        } else {
            (0, 0)
        },
        sdma_engines: if near { 0b11 } else { 0 },
        flags: 1,
        indirect: !near,
    }
}

/// The link between two GPUs. Weights as captured: 13 within a card, 15 between cards of a hive (41 between
/// their partitions), 40 and 72 over PCIe by way of the CPUs.
fn peer_link(preset: &Preset, gpu: &Gpu, peer: &Gpu) -> Link {
    let link = Link {
        kind: LINK_XGMI,
        from: gpu.node,
        to: peer.node,
        weight: preset.xgmi_weight,
        bandwidth: (preset.xgmi_bandwidth, preset.xgmi_bandwidth),
        sdma_engines: xgmi_engines(preset, gpu, peer),
        flags: 1,
        indirect: false,
    };
    if gpu.card == peer.card {
        Link {
            weight: 13,
            bandwidth: (819_200, 819_200),
            ..link
        }
    } else if gpu.hive_id != 0 && gpu.hive_id == peer.hive_id {
        if preset.partitions() > 1 {
            Link {
                weight: 41,
                bandwidth: (0, 0),
                ..link
            }
        } else {
            link
        }
    } else {
        let weight = if gpu.numa_node == peer.numa_node { 40 } else { 72 };
        Link {
            kind: LINK_PCIE,
            weight,
            bandwidth: (0, 0),
            sdma_engines: 0,
            flags: 3,
            indirect: true,
            ..link
        }
    }
}

/// The SDMA engines recommended for a peer: with an engine for each of seven peers one of its own, the same one seen
/// from both ends; otherwise all that serve XGMI, or where a partition has none those that it has.
fn xgmi_engines(preset: &Preset, gpu: &Gpu, peer: &Gpu) -> u32 {
    let (pcie, xgmi) = sdma_engines(preset);
    let lane = gpu.card ^ peer.card;
    match xgmi {
        0 => (1 << pcie) - 1,
        14.. if lane < 8 => 1 << (2 * lane),
        _ => ((1 << xgmi) - 1) << pcie,
    }
}

/// SDMA engines of one partition: for PCIe, and for XGMI.
fn sdma_engines(preset: &Preset) -> (u32, u32) {
    let all = preset.sdma_engines / preset.partitions();
    let pcie = all.min(PCIE_SDMA_ENGINES);
    (pcie, all - pcie)
}

fn link_properties(link: &Link) -> [(&'static str, u64); 13] {
    [
        ("type", link.kind.into()),
        ("version_major", 0),
        ("version_minor", 0),
        ("node_from", link.from.into()),
        ("node_to", link.to.into()),
        ("weight", link.weight.into()),
        ("min_latency", 0),
        ("max_latency", 0),
        ("min_bandwidth", link.bandwidth.0.into()),
        ("max_bandwidth", link.bandwidth.1.into()),
        ("recommended_transfer_size", 0),
        ("recommended_sdma_engine_id_mask", link.sdma_engines.into()),
        ("flags", link.flags.into()),
    ]
}

fn count(links: &[Link], indirect: bool) -> u64 {
    links.iter().filter(|link| link.indirect == indirect).count() as u64
}

fn cpu_properties(preset: &Preset, cpu: u32, links: &[Link]) -> Vec<(&'static str, u64)> {
    let mut list = vec![
        ("cpu_cores_count", preset.cpu_cores.into()),
        ("simd_count", 0),
        ("mem_banks_count", 1),
        ("caches_count", 0),
        ("io_links_count", count(links, false)),
        ("p2p_links_count", count(links, true)),
        (
            "cpu_core_id_base",
            (cpu * preset.cpu_cores.next_power_of_two()).into(),
        ),
    ];
    let zero = [
        "simd_id_base",
        "max_waves_per_simd",
        "lds_size_in_kb",
        "gds_size_in_kb",
        "num_gws",
        "wave_front_size",
        "array_count",
        "simd_arrays_per_engine",
        "cu_per_simd_array",
        "simd_per_cu",
        "max_slots_scratch_cu",
        "gfx_target_version",
        "vendor_id",
        "device_id",
        "location_id",
        "domain",
        "drm_render_minor",
        "hive_id",
        "num_sdma_engines",
        "num_sdma_xgmi_engines",
        "num_sdma_queues_per_engine",
        "num_cp_queues",
    ];
    list.extend(zero.map(|key| (key, 0)));
    list.push(("max_engine_clk_ccompute", preset.cpu_clock_mhz.into()));
    list
}

fn gpu_properties(preset: &Preset, gpu: &Gpu, (links, caches): (&[Link], usize)) -> Vec<(&'static str, u64)> {
    let (pcie_engines, xgmi_engines) = sdma_engines(preset);
    vec![
        ("cpu_cores_count", 0),
        (
            "simd_count",
            (gpu.xcc * preset.active_cus * preset.simds_per_cu).into(),
        ),
        ("mem_banks_count", 1),
        ("caches_count", caches as u64),
        ("io_links_count", count(links, false)),
        ("p2p_links_count", count(links, true)),
        ("cpu_core_id_base", 0),
        ("simd_id_base", gpu.simd_id_base.into()),
        ("max_waves_per_simd", preset.max_waves_per_simd.into()),
        ("lds_size_in_kb", preset.lds_kib.into()),
        ("gds_size_in_kb", 0),
        ("num_gws", preset.gws.into()),
        ("wave_front_size", preset.wave_front_size.into()),
        (
            "array_count",
            (gpu.xcc * preset.shader_engines * preset.arrays_per_engine).into(),
        ),
        ("simd_arrays_per_engine", preset.arrays_per_engine.into()),
        ("cu_per_simd_array", preset.cu_slots.into()),
        ("simd_per_cu", preset.simds_per_cu.into()),
        ("max_slots_scratch_cu", 32),
        ("gfx_target_version", preset.gfx_target_version.into()),
        ("vendor_id", 0x1002),
        ("device_id", preset.device_id.into()),
        ("location_id", gpu.location_id.into()),
        ("domain", 0),
        ("drm_render_minor", gpu.render_minor.into()),
        ("hive_id", gpu.hive_id),
        ("num_sdma_engines", pcie_engines.into()),
        ("num_sdma_xgmi_engines", xgmi_engines.into()),
        ("num_sdma_queues_per_engine", preset.sdma_queues_per_engine.into()),
        ("num_cp_queues", preset.cp_queues.into()),
        ("max_engine_clk_fcompute", preset.engine_clock_mhz.into()),
        ("local_mem_size", 0),
        ("fw_version", preset.fw_version.into()),
        ("capability", preset.capability.into()),
        ("debug_prop", preset.debug_prop),
        ("sdma_fw_version", preset.sdma_fw_version.into()),
        ("unique_id", gpu.unique_id),
        ("num_xcc", gpu.xcc.into()),
        ("max_engine_clk_ccompute", preset.cpu_clock_mhz.into()),
    ]
}

fn lines(properties: &[(&str, u64)]) -> String {
    properties
        .iter()
        .map(|(key, value)| format!("{key} {value}\n"))
        .collect()
}
