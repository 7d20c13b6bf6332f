//! The written node against what real nodes write, and against what its readers rely on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use sdg_sim::gpu::gpus;
use sdg_sim::node;
use sdg_sim::preset::Preset;

/// Values that differ from one specimen of a node to another.
const INDIVIDUAL: &[&str] = &["hive_id", "unique_id", "simd_id_base"];

struct Built {
    _dir: tempfile::TempDir,
    root: PathBuf,
    preset: Preset,
}

fn build(name: &str, changes: &[&str]) -> Built {
    // In memory: a node of 64 partitions is 20,000 files, which takes seconds on some disks.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = dir.path().join("node");
    let mut preset = Preset::named(name).unwrap();
    preset.set_all(changes).unwrap();
    node::build(&preset, &root).unwrap();
    Built {
        _dir: dir,
        root,
        preset,
    }
}

impl Built {
    fn read(&self, path: &str) -> String {
        let path = self.root.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn node(&self, node: u32, file: &str) -> String {
        self.read(&format!("sys/class/kfd/kfd/topology/nodes/{node}/{file}"))
    }

    fn entries(&self, path: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.root.join(path)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn fixture(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

/// The lines of a properties file that both specimens must share; keys keep their order.
fn shared<'a>(text: &'a str, other: &[&str]) -> Vec<&'a str> {
    let individual = |key: &str| INDIVIDUAL.contains(&key) || other.contains(&key);
    let key = |line: &'a str| line.split(' ').next().unwrap_or_default();
    text.lines()
        .map(|line| if individual(key(line)) { key(line) } else { line })
        .collect()
}

fn property(text: &str, key: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {key}")).parse().unwrap()
}

#[test]
fn an_mi300x_partition_reads_as_a_captured_one() {
    let node = build("mi300x-8-cpx", &[]);
    // The captured node lacks its 64th partition: the board's own display had taken a DRM minor.
    let other = ["io_links_count", "p2p_links_count"];
    assert_eq!(
        shared(&node.node(0, "properties"), &other),
        shared(&fixture("mi300x-cpx-cpu.properties"), &other)
    );
    assert_eq!(
        shared(&node.node(2, "properties"), &other),
        shared(&fixture("mi300x-cpx.properties"), &other)
    );
    assert_eq!(
        node.node(2, "io_links/1/properties"),
        fixture("mi300x-cpx-link.properties")
    );
}

#[test]
fn an_mi210_reads_as_a_captured_one() {
    let node = build("mi210-4", &["cpus=1"]);
    // The captured node has a second hive, reached through the CPUs.
    let other = ["p2p_links_count"];
    assert_eq!(
        shared(&node.node(1, "properties"), &other),
        shared(&fixture("mi210.properties"), &other)
    );
}

#[test]
fn a_whole_mi300x_has_the_known_figures() {
    let node = build("mi300x-8", &[]);
    let text = node.node(4, "properties");
    for (key, value) in [
        ("simd_count", 1216),
        ("array_count", 32),
        ("num_xcc", 8),
        ("caches_count", 626),
        ("io_links_count", 8),
        ("num_sdma_engines", 2),
        ("num_sdma_xgmi_engines", 14),
        ("location_id", 18176),
        ("drm_render_minor", 144),
    ] {
        assert_eq!(property(&text, key), value, "{key}");
    }
    assert_eq!(
        property(&node.node(4, "mem_banks/0/properties"), "size_in_bytes"),
        206_141_652_992
    );
}

/// Every file that the kernel's `ip_hw_attr` lists, in its formats: `%d`, and `0x%08X` for each address.
#[test]
fn a_chip_s_blocks_read_as_the_kernel_writes_them() {
    for (name, tables) in [("mi300x", 1), ("mi308x-cpx", 1), ("rx7900xtx", 1), ("mi210-4", 0)] {
        let node = build(name, &[]);
        let cards = node.entries("sys/bus/pci/devices").into_iter();
        let dies: Vec<String> = cards
            .map(|card| format!("sys/bus/pci/devices/{card}/ip_discovery/die/0"))
            .filter(|die| node.root.join(die).exists())
            .collect();
        assert_eq!(dies.len(), tables, "{name}");
        for die in dies {
            let mut instances = 0;
            let numbers: Vec<u32> = node
                .entries(&die)
                .iter()
                .filter_map(|kind| kind.parse().ok())
                .collect();
            for kind in &numbers {
                for number in node.entries(&format!("{die}/{kind}")) {
                    let directory = format!("{die}/{kind}/{number}");
                    let read = |file: &str| node.read(&format!("{directory}/{file}"));
                    assert_eq!(
                        (read("hw_id"), read("num_instance")),
                        (format!("{kind}\n"), format!("{number}\n"))
                    );
                    for part in ["major", "minor", "revision"] {
                        read(part).trim_end().parse::<u8>().unwrap();
                    }
                    let addresses = read("base_addr");
                    assert_eq!(
                        read("num_base_addresses"),
                        format!("{}\n", addresses.lines().count())
                    );
                    for line in addresses.lines() {
                        let address = u32::from_str_radix(line.strip_prefix("0x").unwrap(), 16).unwrap();
                        assert_eq!(line, format!("0x{address:08X}"), "{directory}");
                    }
                    instances += 1;
                }
            }
            assert_eq!(node.read(&format!("{die}/num_ips")), format!("{instances}\n"));
            assert_eq!(node.read(&format!("{die}/GC/0/hw_id")), "11\n", "by its name");
        }
    }
    let harvested = |preset: &str, kind: &str| {
        let node = build(preset, &[]);
        let card = node.entries("sys/bus/pci/devices").pop_first().unwrap();
        let kind = format!("sys/bus/pci/devices/{card}/ip_discovery/die/0/{kind}");
        let states = node.entries(&kind).into_iter();
        states
            .map(|number| node.read(&format!("{kind}/{number}/harvest")))
            .filter(|state| state == "0x1\n")
            .count()
    };
    assert_eq!((harvested("mi300x", "GC"), harvested("mi300x", "SDMA0")), (0, 0));
    assert_eq!(
        (harvested("mi308x-cpx", "GC"), harvested("mi308x-cpx", "SDMA0")),
        (4, 8)
    );
    let card = build("rx7900xtx", &[]);
    let addresses = card.read("sys/class/drm/renderD128/device/ip_discovery/die/0/GC/0/base_addr");
    assert_eq!(addresses, "0x00001260\n0x0000A000\n0x0001C000\n0x02402C00\n");
}

#[test]
fn what_a_node_counts_is_there() {
    for name in Preset::names() {
        let node = build(name, &[]);
        let nodes = node.entries("sys/class/kfd/kfd/topology/nodes");
        assert_eq!(
            nodes.len(),
            gpus(&node.preset).len() + node.preset.cpus as usize,
            "{name}"
        );
        for number in &nodes {
            let text = node.node(number.parse().unwrap(), "properties");
            for (key, place) in [
                ("mem_banks_count", "mem_banks"),
                ("caches_count", "caches"),
                ("io_links_count", "io_links"),
                ("p2p_links_count", "p2p_links"),
            ] {
                let there = node.entries(&format!("sys/class/kfd/kfd/topology/nodes/{number}/{place}"));
                assert_eq!(
                    property(&text, key),
                    there.len() as u64,
                    "{name}, node {number}: {place}"
                );
            }
        }
    }
}

#[test]
fn every_gpu_is_reached_by_its_numbers() {
    for changes in [&["xcp_spelling=dot"][..], &[]] {
        let node = build("mi300x-8-cpx", changes);
        for gpu in gpus(&node.preset) {
            let (render, char_dev) = (
                format!("renderD{}", gpu.render_minor),
                format!("226:{}", gpu.render_minor),
            );
            assert_eq!(node.read(&format!("sys/class/drm/{render}/dev")).trim(), char_dev);
            assert!(
                node.entries(&format!("sys/dev/char/{char_dev}/device/drm"))
                    .contains(&render)
            );
            assert_eq!(node.node(gpu.node, "gpu_id").trim(), gpu.gpu_id.to_string());
            let device = fs::canonicalize(node.root.join(format!("sys/class/drm/{render}/device"))).unwrap();
            let name = device.file_name().unwrap().to_str().unwrap();
            match (gpu.xcp, changes.is_empty()) {
                (None, _) => assert_eq!(name, gpu.pci.to_string()),
                (Some(number), true) => assert_eq!(name, format!("amdgpu_xcp_{number}")),
                (Some(number), false) => assert_eq!(name, format!("amdgpu_xcp.{number}")),
            }
        }
        assert_eq!(node.entries("sys/bus/pci/devices").len(), 8);
        assert_eq!(node.entries("sys/bus/platform/devices").len(), 56);
    }
}

#[test]
fn a_card_says_what_it_is() {
    let node = build("mi300x", &["compute_partition=CPX", "memory_partition=NPS4"]);
    let card = "sys/bus/pci/devices/0000:47:00.0";
    for (file, value) in [
        ("vendor", "0x1002"),
        ("device", "0x74a1"),
        ("mem_info_vram_total", "206141652992"),
        ("current_compute_partition", "CPX"),
        ("available_compute_partition", "SPX, DPX, QPX, CPX"),
        ("current_memory_partition", "NPS4"),
        ("numa_node", "0"),
        ("hwmon/hwmon0/name", "amdgpu"),
    ] {
        assert_eq!(node.read(&format!("{card}/{file}")).trim(), value, "{file}");
    }
    let driver = fs::canonicalize(node.root.join(card).join("driver")).unwrap();
    assert!(
        driver.ends_with("sys/bus/pci/drivers/amdgpu"),
        "{}",
        driver.display()
    );
    assert!(
        node.read(&format!("{card}/uevent"))
            .contains("PCI_SLOT_NAME=0000:47:00.0\n")
    );
}

#[test]
fn devices_are_made_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("node");
    let built = node::build(&Preset::named("mi300x").unwrap(), &root).unwrap();
    let said = fs::read_to_string(root.join("sys/class/kfd/kfd/dev")).unwrap();
    assert_eq!(said, format!("{}:0\n", built.kfd_major));
    for device in ["dev/kfd", "dev/dri/renderD128", "dev/dri/card0"] {
        let path = root.join(device);
        let made = fs::symlink_metadata(&path).is_ok_and(|data| data.file_type().is_char_device());
        assert_ne!(
            made,
            built.missing_devices.contains(&path),
            "{device}: made or reported, never both or neither"
        );
    }
    assert!(!nix::unistd::geteuid().is_root() || built.missing_devices.is_empty());
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let preset = Preset::named("mi300x").unwrap();
    fs::write(dir.path().join("mine"), "x").unwrap();
    let message = node::build(&preset, dir.path()).unwrap_err().to_string();
    assert!(
        message.ends_with("the directory is not empty; give one that is, or a new one"),
        "{message}"
    );

    let message = node::build(&preset, &dir.path().join("mine/node"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("mine/node"), "{message}");
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["mine"]);
}
