//! Where each GPU's card is and what the GPU is called, whatever the topology repeats. Pure.
//!
//! Records, configurations and requests name GPUs by these names, so one that was a GPU's own in 0.1.0 stays as it was.
//! Drivers differ in what they say of partitions: some give all of them the card's serial number and others each its own;
//! their numbers are in the lowest bits of location_id, in its highest, or nowhere.

use std::collections::{HashMap, HashSet};

use super::PciAddress;
use super::topology::NodeProperties;

/// The device that a render node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A PCI device.
    Pci(PciAddress),
    /// A platform device: a card's second partition, or a later one.
    Partition,
    /// Not to be seen.
    Unknown,
}

/// What is known of a GPU before it has a name.
#[derive(Clone, Copy, Debug)]
pub struct Unnamed<'a> {
    /// The KFD's gpu_id, which no two have.
    pub gpu_id: u32,
    /// Its node's properties.
    pub properties: &'a NodeProperties,
    /// Its device.
    pub device: Device,
}

/// Where a GPU's card is, and the GPU's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PCI address of the card.
    pub pci: PciAddress,
    /// `GPU-…`, no two the same.
    pub uuid: String,
}

/// Identities in the order of the GPUs, which is that of their nodes.
pub fn identities(gpus: &[Unnamed<'_>]) -> Vec<Identity> {
    let addresses = addresses(gpus);
    let names = names(gpus, &addresses);
    let pairs = addresses.into_iter().zip(names);
    pairs.map(|(pci, uuid)| Identity { pci, uuid }).collect()
}

/// A partition without a PCI device is on the card of the last node before it that has one in the same slot: the KFD
/// lists a card's partitions one after the other.
fn addresses(gpus: &[Unnamed<'_>]) -> Vec<PciAddress> {
    let mut in_slot: HashMap<PciAddress, u32> = HashMap::new();
    for gpu in gpus {
        *in_slot.entry(gpu.properties.slot()).or_default() += 1;
    }
    let mut cards: HashMap<PciAddress, PciAddress> = HashMap::new();
    let address = |gpu: &Unnamed<'_>| {
        let slot = gpu.properties.slot();
        match gpu.device {
            Device::Pci(address) => {
                cards.insert(slot, address);
                address
            }
            Device::Partition => cards.get(&slot).copied().unwrap_or(slot),
            // Alone in its slot it is no partition, and the lowest bits are the function's.
            Device::Unknown if in_slot.get(&slot) == Some(&1) => gpu.properties.address(),
            Device::Unknown => gpu.properties.card(),
        }
    };
    gpus.iter().map(address).collect()
}

/// The names that 0.1.0 gave, and others for GPUs that had one and the same.
fn names(gpus: &[Unnamed<'_>], addresses: &[PciAddress]) -> Vec<String> {
    let mut on_card: HashMap<_, u32> = HashMap::new();
    for gpu in gpus {
        *on_card.entry(card_of_0_1_0(gpu)).or_default() += 1;
    }
    let name = |gpu: &Unnamed<'_>| match on_card.get(&card_of_0_1_0(gpu)) {
        Some(2..) => format!("{}-{}", stem(gpu), gpu.properties.partition()),
        _ => stem(gpu),
    };
    let mut names: Vec<String> = gpus.iter().map(name).collect();
    for same in repeated(&names) {
        let members: Vec<Member<'_>> = same
            .iter()
            .filter_map(|&at| Some((gpus.get(at)?, *addresses.get(at)?)))
            .collect();
        let shared = same.first().and_then(|&at| names.get(at)).cloned();
        let taken: HashSet<&String> = names
            .iter()
            .filter(|name| Some(*name) != shared.as_ref())
            .collect();
        for (at, name) in same.iter().zip(told_apart(&members, &taken)) {
            if let Some(place) = names.get_mut(*at) {
                *place = name;
            }
        }
    }
    names
}

type Member<'a> = (&'a Unnamed<'a>, PciAddress);

fn card_of_0_1_0(gpu: &Unnamed<'_>) -> (PciAddress, u64) {
    (gpu.properties.card(), gpu.properties.unique_id)
}

/// Cards without a serial number are told apart by where they are.
fn stem(gpu: &Unnamed<'_>) -> String {
    match gpu.properties.unique_id {
        0 => format!("GPU-{}", dashed(gpu.properties.card())),
        id => format!("GPU-{id:016x}"),
    }
}

fn dashed(address: PciAddress) -> String {
    address.to_string().replace([':', '.'], "-")
}

/// Positions of names that several have, a list each.
fn repeated(names: &[String]) -> Vec<Vec<usize>> {
    let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        positions.entry(name).or_default().push(at);
    }
    let mut repeated: Vec<Vec<usize>> = positions.into_values().filter(|same| same.len() > 1).collect();
    repeated.sort_unstable();
    repeated
}

/// Names for GPUs that share one: by the first of these that differs among them and is nobody else's. The last always is.
fn told_apart(members: &[Member<'_>], taken: &HashSet<&String>) -> Vec<String> {
    let partition = |gpu: &Unnamed<'_>| gpu.properties.high_partition();
    let ways: [&dyn Fn(&Member<'_>) -> String; 4] = [
        &|(gpu, _)| format!("{}-{}", stem(gpu), partition(gpu)),
        &|(gpu, address)| format!("{}-{}", stem(gpu), dashed(*address)),
        &|(gpu, address)| format!("{}-{}-{}", stem(gpu), dashed(*address), partition(gpu)),
        &|(gpu, _)| format!("{}-{:08x}", stem(gpu), gpu.gpu_id),
    ];
    let tries = ways.iter().map(|way| members.iter().map(way).collect::<Vec<_>>());
    let mut last = Vec::new();
    for names in tries {
        let different: HashSet<&String> = names.iter().collect();
        if different.len() == names.len() && names.iter().all(|name| !taken.contains(name)) {
            return names;
        }
        last = names;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(gfx: u32, location: u32, unique_id: u64) -> NodeProperties {
        NodeProperties {
            gfx_target_version: gfx,
            location_id: location,
            unique_id,
            ..NodeProperties::default()
        }
    }

    /// Names of GPUs of (gfx, location_id, unique_id, device).
    fn named(gpus: &[(u32, u32, u64, Device)]) -> Vec<(String, String)> {
        let properties: Vec<NodeProperties> = gpus
            .iter()
            .map(|&(gfx, location, id, _)| properties(gfx, location, id))
            .collect();
        let unnamed: Vec<Unnamed<'_>> = gpus
            .iter()
            .zip(&properties)
            .enumerate()
            .map(|(at, (&(.., device), properties))| Unnamed {
                gpu_id: 0x1000 + at as u32,
                properties,
                device,
            })
            .collect();
        let identities = identities(&unnamed);
        identities
            .into_iter()
            .map(|one| (one.uuid, one.pci.to_string()))
            .collect()
    }

    fn pci(text: &str) -> Device {
        Device::Pci(text.parse().unwrap())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(uuid, pci)| ((*uuid).to_owned(), (*pci).to_owned()))
            .collect()
    }

    #[test]
    fn names_of_0_1_0_stay() {
        // A card, partitions by their numbers in the lowest bits, cards without serial numbers, partitions with their own.
        assert_eq!(
            named(&[
                (90_010, 0x0300, 0xab, pci("0000:03:00.0")),
                (90_402, 0x0500, 0xcd, pci("0000:05:00.0")),
                (90_402, 0x0501, 0xcd, Device::Partition),
                (110_000, 0x0700, 0, pci("0000:07:00.0")),
                (90_402, 0x0900, 0x11, pci("0000:09:00.0")),
                (90_402, 0x0901, 0x12, Device::Partition),
            ]),
            pairs(&[
                ("GPU-00000000000000ab", "0000:03:00.0"),
                ("GPU-00000000000000cd-0", "0000:05:00.0"),
                ("GPU-00000000000000cd-1", "0000:05:00.0"),
                ("GPU-0000-07-00-0", "0000:07:00.0"),
                ("GPU-0000000000000011", "0000:09:00.0"),
                ("GPU-0000000000000012", "0000:09:00.0"),
            ])
        );
    }

    #[test]
    fn partitions_are_numbered_in_the_highest_bits_or_nowhere() {
        let high = |partition: u32| (90_402, 0x0500 | partition << 28, 0xcd, Device::Partition);
        let first = (90_402, 0x0500, 0xcd, pci("0000:05:00.0"));
        assert_eq!(
            named(&[first, high(1), high(2)]),
            pairs(&[
                ("GPU-00000000000000cd-0", "0000:05:00.0"),
                ("GPU-00000000000000cd-1", "0000:05:00.0"),
                ("GPU-00000000000000cd-2", "0000:05:00.0"),
            ])
        );
        assert_eq!(
            named(&[first, high(0)]),
            pairs(&[
                ("GPU-00000000000000cd-00001000", "0000:05:00.0"),
                ("GPU-00000000000000cd-00001001", "0000:05:00.0"),
            ])
        );
        // A chip that 0.1.0 did not know to have partitions, two cards of it with one serial number.
        let card = |bus: u32, at: u32, device| (120_500, bus << 8 | at, 0xef, device);
        let cards = named(&[
            card(5, 0, pci("0000:05:00.0")),
            card(5, 1, Device::Partition),
            card(6, 0, pci("0000:06:00.0")),
            card(6, 1, Device::Partition),
        ]);
        let different: HashSet<&String> = cards.iter().map(|(uuid, _)| uuid).collect();
        assert_eq!(different.len(), 4, "{cards:?}");
        let addresses: Vec<&str> = cards.iter().map(|(_, pci)| pci.as_str()).collect();
        assert_eq!(
            addresses,
            ["0000:05:00.0", "0000:05:00.0", "0000:06:00.0", "0000:06:00.0"]
        );
    }

    #[test]
    fn cards_with_one_serial_number_are_told_apart_by_their_place() {
        assert_eq!(
            named(&[
                (110_000, 0x0300, 0xab, pci("0000:03:00.0")),
                (110_000, 0x0400, 0xab, pci("0000:04:00.0")),
            ]),
            pairs(&[
                ("GPU-00000000000000ab-0000-03-00-0", "0000:03:00.0"),
                ("GPU-00000000000000ab-0000-04-00-0", "0000:04:00.0"),
            ])
        );
        let partitioned =
            |bus: u32, partition: u32, device| (90_402, bus << 8 | partition << 28, 0xcd, device);
        let names = named(&[
            partitioned(5, 0, pci("0000:05:00.0")),
            partitioned(5, 1, Device::Partition),
            partitioned(6, 0, pci("0000:06:00.0")),
            partitioned(6, 1, Device::Partition),
        ]);
        assert_eq!(names[3].0, "GPU-00000000000000cd-0000-06-00-0-1");
    }

    #[test]
    fn everything_the_same_is_told_apart_all_the_same() {
        let same = (90_402, 0x0500, 0xcd, Device::Unknown);
        let names = named(&[same, same, same]);
        let different: HashSet<&String> = names.iter().map(|(uuid, _)| uuid).collect();
        assert_eq!(different.len(), 3, "{names:?}");
    }

    #[test]
    fn a_card_at_another_function_keeps_its_address() {
        // Functions that a hypervisor has handed through, and one whose device is not to be seen.
        assert_eq!(
            named(&[
                (90_402, 0x0511, 0x1, pci("0000:05:02.1")),
                (90_402, 0x0512, 0x2, pci("0000:05:02.2")),
                (90_402, 0x0613, 0x3, Device::Unknown),
            ]),
            pairs(&[
                ("GPU-0000000000000001", "0000:05:02.1"),
                ("GPU-0000000000000002", "0000:05:02.2"),
                ("GPU-0000000000000003", "0000:06:02.3"),
            ])
        );
        // Its partitions are on it.
        let partitions = named(&[
            (90_402, 0x0511, 0x1, pci("0000:05:02.1")),
            (90_402, 0x0511 | 1 << 28, 0x1, Device::Partition),
        ]);
        assert_eq!(partitions[1].1, "0000:05:02.1");
        assert_ne!(partitions[0].0, partitions[1].0);
    }
}
