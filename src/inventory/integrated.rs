//! Which GPUs are part of a processor. Pure.

use super::topology::NodeProperties;

/// Whether a node's GPU shares a processor's package and memory with its cores.
///
/// The KFD says it of old ones alone, whose node has cores as well. The others the driver knows by their graphics core or
/// device, and so do we. An MI300A is none here: it has memory of its own, and a node of them has no better GPUs.
pub fn is_integrated(properties: &NodeProperties) -> bool {
    properties.cpu_cores_count > 0
        || has_integrated_core(properties.gfx_target_version)
        || is_integrated_device(properties.device_id)
}

/// Source: Linux, amdgpu_discovery.c, where `AMD_IS_APU` is set by version of the graphics core (9.1.0, 9.2.2, 9.3.0,
/// 10.1.3, 10.1.4, 10.3.1, 10.3.3, 10.3.6, 10.3.7, 11.0.1, 11.0.4, 11.5.0 and later); kfd_device.c, `kgd2kfd_probe()`,
/// for what the topology says of them.
fn has_integrated_core(gfx_target_version: u32) -> bool {
    matches!(
        gfx_target_version,
        80_001
            | 90_002
            | 90_012
            | 100_103
            | 100_303
            | 100_305
            | 100_306
            | 110_003
            | 110_500..=110_599
            | 110_700..=110_799
    )
}

/// Source: libdrm, `data/amdgpu.ids`, entries of processors' graphics.
fn is_integrated_device(device_id: u32) -> bool {
    matches!(
        device_id,
        0x9874
            | 0x98e4
            | 0x15dd
            | 0x15d8
            | 0x1636
            | 0x1638
            | 0x164c
            | 0x15e7
            | 0x163f
            | 0x1435
            | 0x164d
            | 0x1681
            | 0x164e
            | 0x1506
            | 0x13c0
            | 0x15bf
            | 0x15c8
            | 0x1900
            | 0x1901
            | 0x150e
            | 0x1586
            | 0x1114
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphics_of_processors_and_cards_are_told_apart() {
        let is = |text: &str| is_integrated(&NodeProperties::parse(text));
        // Raphael, Phoenix, Strix Halo; a node with cores; a device alone.
        for text in [
            "gfx_target_version 100306\ndevice_id 5710\n",
            "gfx_target_version 110003\n",
            "gfx_target_version 110501\n",
            "gfx_target_version 80001\ncpu_cores_count 4\n",
            "cpu_cores_count 4\n",
            "device_id 5597\n",
        ] {
            assert!(is(text), "{text:?}");
        }
        // MI300X, MI300A, MI210, RX 6800, RX 7900 XTX, RX 9070.
        for (gfx, device) in [
            (90_402, 0x74a1),
            (90_402, 0x74a0),
            (90_010, 0x740f),
            (100_300, 0x73bf),
            (110_000, 0x744c),
            (120_001, 0x7550),
        ] {
            let text = format!("cpu_cores_count 0\ngfx_target_version {gfx}\ndevice_id {device}\n");
            assert!(!is(&text), "{text:?}");
        }
    }
}
