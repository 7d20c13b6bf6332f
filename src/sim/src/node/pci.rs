//! The GPUs' PCI and platform devices, their driver, and their monitoring files.

use super::blocks;
use super::tree::Tree;
use crate::gpu::{Gpu, gpus};
use crate::preset::{Preset, XcpSpelling};

const DRIVER: &str = "sys/bus/pci/drivers/amdgpu";
const MODULE: &str = "sys/module/amdgpu";

/// Version of the out-of-tree driver that the node claims to run.
const DRIVER_VERSION: &str = "6.14.14";

/// Directory of a card's PCI device: behind a port of the bus's own root.
pub(super) fn card_dir(gpu: &Gpu) -> String {
    let root = gpu.pci.bus.saturating_sub(1);
    format!("sys/devices/pci0000:{root:02x}/0000:{root:02x}:01.1/{}", gpu.pci)
}

/// Directory of a GPU's device: the card's for its first partition, a platform device's for the others.
pub(super) fn device_dir(preset: &Preset, gpu: &Gpu) -> String {
    match (gpu.xcp, preset.xcp_spelling) {
        (None, _) => card_dir(gpu),
        (Some(number), XcpSpelling::Underscore) => format!("sys/devices/platform/amdgpu_xcp_{number}"),
        (Some(number), XcpSpelling::Dot) => format!("sys/devices/platform/amdgpu_xcp.{number}"),
    }
}

/// Plans the devices of all cards and partitions.
pub(super) fn plan(preset: &Preset, tree: &mut Tree) {
    plan_module(tree);
    for gpu in gpus(preset) {
        let dir = device_dir(preset, &gpu);
        let name = dir.rsplit('/').next().unwrap_or_default();
        if gpu.xcp.is_some() {
            tree.link(format!("{dir}/subsystem"), "sys/bus/platform");
            tree.file(format!("{dir}/uevent"), "MODALIAS=platform:amdgpu_xcp\n");
            tree.file(format!("{dir}/modalias"), "platform:amdgpu_xcp\n");
            tree.link(format!("sys/bus/platform/devices/{name}"), &dir);
            continue;
        }
        tree.link(format!("{dir}/subsystem"), "sys/bus/pci");
        tree.link(format!("{dir}/driver"), DRIVER);
        tree.link(format!("sys/bus/pci/devices/{name}"), &dir);
        tree.link(format!("{DRIVER}/{name}"), &dir);
        plan_identity(preset, &gpu, tree);
        blocks::plan(preset, &dir, tree);
        plan_memory(preset, &gpu, tree);
        plan_monitoring(preset, &gpu, tree);
    }
}

fn plan_module(tree: &mut Tree) {
    tree.directory("sys/bus/platform/devices");
    tree.directory("sys/bus/platform/drivers");
    tree.link(format!("{DRIVER}/module"), MODULE);
    tree.link(format!("{MODULE}/drivers/pci:amdgpu"), DRIVER);
    tree.value(format!("{MODULE}/initstate"), "live");
    tree.value(format!("{MODULE}/version"), DRIVER_VERSION);
    tree.value(format!("{MODULE}/refcnt"), 0);
    tree.directory(format!("{MODULE}/parameters"));
}

fn plan_identity(preset: &Preset, gpu: &Gpu, tree: &mut Tree) {
    let dir = card_dir(gpu);
    let (class, device) = (preset.pci_class, preset.device_id);
    let (subsystem, revision) = (preset.subsystem_id, preset.revision);
    for (name, value) in [
        ("vendor", "0x1002".to_owned()),
        ("device", format!("0x{device:04x}")),
        ("subsystem_vendor", "0x1002".to_owned()),
        ("subsystem_device", format!("0x{subsystem:04x}")),
        ("revision", format!("0x{revision:02x}")),
        ("class", format!("0x{class:06x}")),
        ("numa_node", gpu.numa_node.to_string()),
        ("unique_id", format!("{:016x}", gpu.unique_id)),
        ("product_name", preset.product.clone()),
        ("product_number", format!("102-SIM{device:04X}-00")),
        ("serial_number", format!("{:016x}", gpu.unique_id)),
        ("vbios_version", "113-SIMULATED-000".to_owned()),
        ("xgmi_device_id", gpu.unique_id.to_string()),
        ("current_link_speed", "32.0 GT/s PCIe".to_owned()),
        ("current_link_width", "16".to_owned()),
        ("max_link_speed", "32.0 GT/s PCIe".to_owned()),
        ("max_link_width", "16".to_owned()),
        ("enable", "1".to_owned()),
        ("power_state", "D0".to_owned()),
    ] {
        tree.value(format!("{dir}/{name}"), value);
    }
    if preset.compute_partitions.len() > 1 {
        tree.value(
            format!("{dir}/current_compute_partition"),
            &preset.compute_partition,
        );
        tree.value(
            format!("{dir}/available_compute_partition"),
            preset.compute_partitions.join(", "),
        );
        tree.value(
            format!("{dir}/current_memory_partition"),
            &preset.memory_partition,
        );
        tree.value(
            format!("{dir}/available_memory_partition"),
            preset.memory_partitions.join(", "),
        );
    }
    let short = class >> 8;
    tree.file(
        format!("{dir}/uevent"),
        format!(
            "DRIVER=amdgpu\nPCI_CLASS={class:X}\nPCI_ID=1002:{device:04X}\nPCI_SUBSYS_ID=1002:{subsystem:04X}\n\
             PCI_SLOT_NAME={}\nMODALIAS=pci:v00001002d0000{device:04X}sv00001002sd0000{subsystem:04X}bc{:02X}sc{:02X}i{:02X}\n",
            gpu.pci,
            short >> 8,
            short & 0xff,
            class & 0xff,
        ),
    );
    tree.file(format!("{dir}/config"), config_space(preset));
}

/// The head of the PCI configuration space: what libdrm and libpciaccess read of it.
fn config_space(preset: &Preset) -> Vec<u8> {
    let mut space = vec![0; 256];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (place, byte) in space.iter_mut().skip(offset).zip(bytes) {
            *place = *byte;
        }
    };
    put(0x00, &0x1002_u16.to_le_bytes());
    put(0x02, &preset.device_id.to_le_bytes()[..2]);
    put(0x08, &preset.revision.to_le_bytes()[..1]);
    put(0x09, &preset.pci_class.to_le_bytes()[..3]);
    put(0x2c, &0x1002_u16.to_le_bytes());
    put(0x2e, &preset.subsystem_id.to_le_bytes()[..2]);
    space
}

fn plan_memory(preset: &Preset, gpu: &Gpu, tree: &mut Tree) {
    let dir = card_dir(gpu);
    let gtt = preset.cpu_memory_bytes / 2 * u64::from(preset.cpus);
    for (name, bytes) in [
        ("mem_info_vram_total", preset.memory_bytes),
        ("mem_info_vram_used", 0),
        ("mem_info_vis_vram_total", preset.memory_bytes),
        ("mem_info_vis_vram_used", 0),
        ("mem_info_gtt_total", gtt),
        ("mem_info_gtt_used", 0),
        ("mem_info_preempt_used", 0),
    ] {
        tree.value(format!("{dir}/{name}"), bytes);
    }
    tree.value(format!("{dir}/mem_info_vram_vendor"), "hynix");
}

fn plan_monitoring(preset: &Preset, gpu: &Gpu, tree: &mut Tree) {
    let dir = card_dir(gpu);
    let (engine, memory) = (preset.engine_clock_mhz, preset.memory_clock_mhz);
    tree.value(format!("{dir}/gpu_busy_percent"), 0);
    tree.value(format!("{dir}/mem_busy_percent"), 0);
    tree.value(format!("{dir}/power_dpm_force_performance_level"), "auto");
    tree.file(
        format!("{dir}/pp_dpm_sclk"),
        format!("0: 132Mhz *\n1: {engine}Mhz\n"),
    );
    tree.file(
        format!("{dir}/pp_dpm_mclk"),
        format!("0: 900Mhz *\n1: {memory}Mhz\n"),
    );
    tree.file(format!("{dir}/pp_dpm_pcie"), "0: 32.0GT/s, x16 *\n");
    let mec = preset.fw_version;
    for (name, version) in [
        ("mec", mec),
        ("mec2", mec),
        ("rlc", mec),
        ("sdma", preset.sdma_fw_version),
    ] {
        tree.value(
            format!("{dir}/fw_version/{name}_fw_version"),
            format!("0x{version:08x}"),
        );
    }
    let hwmon = format!("{dir}/hwmon/hwmon{}", gpu.card);
    tree.link(format!("sys/class/hwmon/hwmon{}", gpu.card), &hwmon);
    tree.link(format!("{hwmon}/device"), &dir);
    let power_cap = format!("{}000000", preset.power_cap_watts);
    // Temperatures are in millidegrees Celsius, power in microwatts, voltage in millivolts, clocks in hertz.
    for (name, value) in [
        ("name", "amdgpu"),
        ("temp1_label", "edge"),
        ("temp1_input", "35000"),
        ("temp2_label", "junction"),
        ("temp2_input", "38000"),
        ("temp2_crit", "110000"),
        ("temp3_label", "mem"),
        ("temp3_input", "36000"),
        ("power1_average", "90000000"),
        ("power1_cap", power_cap.as_str()),
        ("power1_cap_default", power_cap.as_str()),
        ("power1_cap_max", power_cap.as_str()),
        ("power1_cap_min", "0"),
        ("in0_label", "vddgfx"),
        ("in0_input", "800"),
        ("freq1_label", "sclk"),
        ("freq1_input", "132000000"),
        ("freq2_label", "mclk"),
        ("freq2_input", "900000000"),
    ] {
        tree.value(format!("{hwmon}/{name}"), value);
    }
}
