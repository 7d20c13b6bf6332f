//! The GPUs of a preset's node, one for each partition: their numbers, addresses and sizes.

use std::fmt;

use crate::preset::{MAX_GPUS, Preset};

/// First minor number of DRM render nodes.
pub const FIRST_RENDER_MINOR: u32 = sdg_abi::drm::FIRST_RENDER_MINOR;

/// The `simd_id_base` of the first GPU (Linux, kfd_crat.c: gpu_processor_id_low).
const FIRST_SIMD_ID: u32 = 0x8000_1000;

/// Memory is divided among partitions in whole pages.
const PAGE_BYTES: u64 = 4096;

/// A PCI function. All simulated GPUs are function 0 of device 0 in domain 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciAddress {
    /// The bus.
    pub bus: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0000:{:02x}:00.0", self.bus)
    }
}

/// One GPU as the KFD sees it: a whole card, or one partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Number of its topology node; the CPUs come first.
    pub node: u32,
    /// Which of the node's cards it is on, from 0.
    pub card: u32,
    /// Which partition of that card it is, from 0.
    pub partition: u32,
    /// Number of its platform device `amdgpu_xcp_<n>`; a card's first partition is the PCI device itself.
    pub xcp: Option<u32>,
    /// The KFD's name for it: 16 bits, unique on the node.
    pub gpu_id: u32,
    /// Minor number M of `/dev/dri/renderD<M>`.
    pub render_minor: u32,
    /// Number N of `/dev/dri/card<N>`.
    pub card_minor: u32,
    /// The card's PCI function.
    pub pci: PciAddress,
    /// Bus and function as the topology has them, the partition in the lowest bits.
    pub location_id: u32,
    /// The card's serial number, the same for all of its partitions.
    pub unique_id: u64,
    /// Name of the XGMI hive, 0 where there is none.
    pub hive_id: u64,
    /// The CPU it is attached to.
    pub numa_node: u32,
    /// Its part of the card's memory.
    pub memory_bytes: u64,
    /// Its XCCs.
    pub xcc: u32,
    /// First number of its SIMD units.
    pub simd_id_base: u32,
}

/// Lists the GPUs in the order of their topology nodes.
pub fn gpus(preset: &Preset) -> Vec<Gpu> {
    let (partitions, xcc) = (preset.partitions(), preset.xcc_per_partition());
    let stride = render_stride(preset);
    let cus_with_slots = xcc * preset.shader_engines * preset.arrays_per_engine * preset.cu_slots;
    let mut ids = Vec::new();
    let mut list = Vec::new();
    for card in 0..preset.gpus {
        let pci = PciAddress {
            bus: bus(preset, card),
        };
        let unique_id = hash(&preset.product, u64::from(card) + 1);
        let hive = hash(&preset.product, 0x1_0000 + u64::from(card / preset.hive_size));
        for partition in 0..partitions {
            let ordinal = list.len() as u32;
            let location_id = (u32::from(pci.bus) << 8) | partition;
            let gpu_id = free_id(
                &ids,
                hash(&preset.product, (u64::from(location_id) << 32) | u64::from(xcc)),
            );
            ids.push(gpu_id);
            let minor = card * stride + partition;
            list.push(Gpu {
                node: preset.cpus + ordinal,
                card,
                partition,
                xcp: (partition > 0).then(|| card * (partitions - 1) + partition - 1),
                gpu_id,
                render_minor: FIRST_RENDER_MINOR + minor,
                card_minor: minor,
                pci,
                location_id,
                unique_id,
                hive_id: if preset.hive_size > 1 { hive } else { 0 },
                numa_node: card * preset.cpus / preset.gpus,
                memory_bytes: preset.memory_bytes / u64::from(partitions) / PAGE_BYTES * PAGE_BYTES,
                xcc,
                simd_id_base: FIRST_SIMD_ID + ordinal * cus_with_slots,
            });
        }
    }
    list
}

/// Distance between the render minors of two cards: the driver keeps room for every partition a card can have.
fn render_stride(preset: &Preset) -> u32 {
    let most = if preset.compute_partitions.len() > 1 {
        preset.xcc
    } else {
        1
    };
    most.min(MAX_GPUS / preset.gpus).max(preset.partitions())
}

fn bus(preset: &Preset, card: u32) -> u8 {
    let known = preset.pci_buses.get(card as usize).copied();
    let last = preset.pci_buses.last().copied().unwrap_or_default();
    known.unwrap_or_else(|| {
        last.wrapping_add((card + 1) as u8)
            .wrapping_sub(preset.pci_buses.len() as u8)
    })
}

/// The 16-bit gpu_id made from a hash, counted up until it is free and not 0, as the KFD does.
fn free_id(taken: &[u32], hash: u64) -> u32 {
    let mut id = (hash & 0xffff) as u32;
    while id == 0 || taken.contains(&id) {
        id = (id + 1) & 0xffff;
    }
    id
}

/// A number that is always the same for the same input (FNV-1a, finished as in SplitMix64).
fn hash(text: &str, number: u64) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = text.bytes().chain(number.to_le_bytes());
    let mixed = bytes.fold(0xcbf2_9ce4_8422_2325, fnv);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, changes: &[&str]) -> Vec<Gpu> {
        let mut preset = Preset::named(name).unwrap();
        preset.set_all(changes).unwrap();
        gpus(&preset)
    }

    fn all<T>(gpus: &[Gpu], value: impl Fn(&Gpu) -> T) -> Vec<T> {
        gpus.iter().map(value).collect()
    }

    #[test]
    fn whole_cards_leave_room_for_their_partitions_render_nodes() {
        let gpus = of("mi300x-8", &[]);
        assert_eq!(
            all(&gpus, |g| g.render_minor),
            [128, 136, 144, 152, 160, 168, 176, 184]
        );
        assert_eq!(
            all(&gpus, |g| g.location_id),
            [1280, 9984, 18176, 25856, 34048, 42752, 50944, 58624]
        );
        assert_eq!(all(&gpus, |g| g.numa_node), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(all(&of("mi210-4", &[]), |g| g.render_minor), [128, 129, 130, 131]);
    }

    #[test]
    fn partitions_of_a_card_share_its_serial_number_and_divide_its_memory() {
        let gpus = of("mi300x-8-cpx", &["memory_partition=NPS4"]);
        assert_eq!(gpus.len(), 64);
        assert_eq!(
            all(&gpus[..9], |g| g.location_id),
            [1280, 1281, 1282, 1283, 1284, 1285, 1286, 1287, 9984]
        );
        assert_eq!(
            all(&gpus[..9], |g| g.xcp),
            [
                None,
                Some(0),
                Some(1),
                Some(2),
                Some(3),
                Some(4),
                Some(5),
                Some(6),
                None
            ]
        );
        assert!(
            gpus[..8]
                .iter()
                .all(|g| g.unique_id == gpus[0].unique_id && g.memory_bytes == 25_767_706_624)
        );
        assert_ne!(gpus[8].unique_id, gpus[0].unique_id);
        assert_eq!(of("mi308x-cpx", &[])[3].memory_bytes, 51_539_607_552);
    }

    #[test]
    fn no_two_gpus_share_a_number() {
        for (name, changes) in [
            ("mi300x-8-cpx", &[][..]),
            ("rx7900xtx", &["gpus=64"]),
            ("mi300x", &["gpus=64"]),
        ] {
            let gpus = of(name, changes);
            for number in [
                |g: &Gpu| g.gpu_id,
                |g: &Gpu| g.render_minor,
                |g: &Gpu| g.location_id,
            ] {
                let mut numbers = all(&gpus, number);
                numbers.sort_unstable();
                numbers.dedup();
                assert_eq!(numbers.len(), gpus.len(), "{name}");
            }
            assert!(
                gpus.iter()
                    .all(|g| (1..0x1_0000).contains(&g.gpu_id) && g.render_minor < 192)
            );
        }
    }

    #[test]
    fn a_repeated_or_zero_id_is_counted_up() {
        assert_eq!(free_id(&[7, 8], 7), 9);
        assert_eq!(free_id(&[], 0x1_0000), 1);
        assert_eq!(free_id(&[0xffff, 1], 0xffff), 2);
    }
}
