//! What a KFD topology node says of a GPU: `properties` and `mem_banks/*/properties` as values. Pure.

use crate::inventory::PciAddress;

/// The properties of a node that matter here; what the kernel does not say is zero.
/// Source: Linux, `kfd_topology.c`, `node_show()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeProperties {
    /// Cores of a processor; zero for a card.
    pub cpu_cores_count: u32,
    /// SIMDs that work; zero for a CPU.
    pub simd_count: u32,
    /// SIMDs of a compute unit.
    pub simd_per_cu: u32,
    /// Shader arrays on all XCCs together.
    pub array_count: u32,
    /// Shader arrays of an engine.
    pub simd_arrays_per_engine: u32,
    /// CU slots of a shader array.
    pub cu_per_simd_array: u32,
    /// XCCs; kernels before 6.5 do not say.
    pub num_xcc: u32,
    /// e.g. 90402.
    pub gfx_target_version: u32,
    /// LDS of a compute unit, in KiB.
    pub lds_size_in_kb: u32,
    /// PCI device id.
    pub device_id: u32,
    /// Bus << 8 | devfn; on cards with partitions the lowest 3 bits are the partition's number, or the highest 4.
    pub location_id: u32,
    /// PCI domain.
    pub domain: u32,
    /// M of renderD<M>.
    pub drm_render_minor: u32,
    /// Number of memory banks.
    pub mem_banks_count: u32,
    /// Serial number of the card; zero where it has none.
    pub unique_id: u64,
    /// Number of the XGMI hive; zero where the card is in none.
    pub hive_id: u64,
}

impl NodeProperties {
    /// Reads `key value` lines; unknown keys are passed over.
    pub fn parse(text: &str) -> Self {
        let mut properties = Self::default();
        for (key, value) in pairs(text) {
            let narrow = match key {
                "cpu_cores_count" => &mut properties.cpu_cores_count,
                "simd_count" => &mut properties.simd_count,
                "simd_per_cu" => &mut properties.simd_per_cu,
                "array_count" => &mut properties.array_count,
                "simd_arrays_per_engine" => &mut properties.simd_arrays_per_engine,
                "cu_per_simd_array" => &mut properties.cu_per_simd_array,
                "num_xcc" => &mut properties.num_xcc,
                "gfx_target_version" => &mut properties.gfx_target_version,
                "lds_size_in_kb" => &mut properties.lds_size_in_kb,
                "device_id" => &mut properties.device_id,
                "location_id" => &mut properties.location_id,
                "domain" => &mut properties.domain,
                "drm_render_minor" => &mut properties.drm_render_minor,
                "mem_banks_count" => &mut properties.mem_banks_count,
                "unique_id" => {
                    properties.unique_id = number(value).unwrap_or(0);
                    continue;
                }
                "hive_id" => {
                    properties.hive_id = number(value).unwrap_or(0);
                    continue;
                }
                _ => continue,
            };
            *narrow = number(value).map_or(0, |value| u32::try_from(value).unwrap_or(u32::MAX));
        }
        properties
    }

    /// Cards whose location_id bears a partition number: gfx9.4.x and gfx9.5.x with several XCCs to a card.
    fn location_has_partition(&self) -> bool {
        matches!(self.gfx_target_version / 100, 904 | 905)
    }

    /// Number of the partition on its card by the lowest bits of location_id, 0 for a card without partitions.
    pub fn partition(&self) -> u32 {
        if self.location_has_partition() {
            self.location_id & 7
        } else {
            0
        }
    }

    /// Number of the partition by the highest bits of location_id, where some drivers have it. Source: Linux, commit
    /// 925c7bd1d1cf ("drm/amdkfd: keep partition id in location_id[31:28]"), later reverted.
    pub fn high_partition(&self) -> u32 {
        self.location_id >> 28
    }

    /// PCI address, if the lowest bits of location_id are a function's number.
    pub fn address(&self) -> PciAddress {
        let location = self.location_id.to_le_bytes();
        PciAddress {
            domain: self.domain,
            bus: location[1],
            device: location[0] >> 3,
            function: location[0] & 7,
        }
    }

    /// PCI address of function 0.
    pub fn slot(&self) -> PciAddress {
        PciAddress {
            function: 0,
            ..self.address()
        }
    }

    /// PCI address of the card as far as the properties alone tell it.
    pub fn card(&self) -> PciAddress {
        if self.location_has_partition() {
            self.slot()
        } else {
            self.address()
        }
    }

    /// `gfx942` and the like: major, minor, and the stepping in hexadecimal.
    pub fn gfx_name(&self) -> String {
        let version = self.gfx_target_version;
        format!(
            "gfx{}{:x}{:x}",
            version / 10_000,
            version / 100 % 100,
            version % 100
        )
    }
}

/// `size_in_bytes` of a memory bank's properties, none where it does not say.
pub fn bank_size(text: &str) -> Option<u64> {
    pairs(text)
        .find(|(key, _)| *key == "size_in_bytes")
        .and_then(|(_, value)| number(value))
}

/// A memory bank's properties with another size, everything else as it was.
pub fn with_bank_size(text: &str, size: u64) -> String {
    let lines = text.lines().map(|line| match line.split_once(' ') {
        Some(("size_in_bytes", _)) => format!("size_in_bytes {size}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' '))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_numbers_are_not_part_of_the_pci_address() {
        let text = "gfx_target_version 90402\nlocation_id 1287\ndomain 1\nunique_id 16404946649897475633\n";
        let properties = NodeProperties::parse(text);
        assert_eq!(properties.partition(), 7);
        assert_eq!(properties.card().to_string(), "0001:05:00.0");
        assert_eq!(properties.unique_id, 16_404_946_649_897_475_633);
        assert_eq!(properties.gfx_name(), "gfx942");
    }

    #[test]
    fn functions_of_other_cards_are() {
        let properties = NodeProperties::parse("gfx_target_version 90010\nlocation_id 769\n");
        assert_eq!(properties.partition(), 0);
        assert_eq!(properties.card().to_string(), "0000:03:00.1");
        assert_eq!(properties.gfx_name(), "gfx90a");
    }

    #[test]
    fn only_the_size_of_a_bank_changes() {
        let bank = "heap_type 1\nsize_in_bytes 51539607552\nflags 0\nwidth 8192\n";
        assert_eq!(bank_size(bank), Some(51_539_607_552));
        assert_eq!(
            with_bank_size(bank, 1024),
            "heap_type 1\nsize_in_bytes 1024\nflags 0\nwidth 8192\n"
        );
    }
}
