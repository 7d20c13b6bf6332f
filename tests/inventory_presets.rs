//! The inventory of every preset against the preset itself, and of nodes that are not as they should be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sdg::inventory::{Detail, Gpu, Inventory};
use sdg::units::Bytes;
use sdg_sim::preset::Preset;

fn node(preset: &Preset) -> tempfile::TempDir {
    // Nodes are thousands of small files, which take minutes on a busy disk.
    let dir = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    sdg_sim::node::build(preset, &dir.path().join("root")).unwrap();
    dir
}

fn read(dir: &tempfile::TempDir) -> Inventory {
    Inventory::read(&dir.path().join("root"), Detail::Full).unwrap()
}

fn preset(name: &str, changes: &[&str]) -> Preset {
    let mut preset = Preset::named(name).unwrap();
    preset.set_all(changes).unwrap();
    preset
}

/// Node numbers that the KFD's XGMI link files (type 11) of a node point to.
fn xgmi_links(root: &Path, gpu: &Gpu) -> HashSet<u32> {
    let links = root.join(format!("sys/class/kfd/kfd/topology/nodes/{}/io_links", gpu.node));
    let value = |text: &str, key: &str| -> u32 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().parse().unwrap()
    };
    std::fs::read_dir(links)
        .unwrap()
        .map(|link| std::fs::read_to_string(link.unwrap().path().join("properties")).unwrap())
        .filter(|text| value(text, "type ") == 11)
        .map(|text| value(&text, "node_to "))
        .collect()
}

fn complaints(inventory: &Inventory) -> Vec<String> {
    inventory.complaints().collect()
}

fn check(name: &str, preset: &Preset) {
    let dir = node(preset);
    let inventory = read(&dir);
    assert_eq!(complaints(&inventory), [""; 0], "{name}");
    let count = preset.gpus * preset.partitions();
    assert_eq!(inventory.gpus.len() as u32, count, "{name}");
    let uuids: HashSet<&str> = inventory.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    assert_eq!(uuids.len() as u32, count, "{name}: every UUID once");
    let cards: HashSet<_> = inventory.gpus.iter().map(|gpu| gpu.pci).collect();
    assert_eq!(cards.len() as u32, preset.gpus, "{name}: a PCI address a card");
    for (position, gpu) in inventory.gpus.iter().enumerate() {
        assert_eq!(gpu.index as usize, position);
        assert_eq!(gpu.grid.xccs, preset.xcc_per_partition(), "{name}");
        assert_eq!(gpu.grid.engines, preset.shader_engines, "{name}");
        assert_eq!(
            gpu.grid.active_units,
            preset.active_cus * preset.xcc_per_partition(),
            "{name}"
        );
        let links: HashSet<u32> = gpu.linked_nodes.iter().copied().collect();
        assert_eq!(
            links,
            xgmi_links(&dir.path().join("root"), gpu),
            "{name}: links of GPU {position}"
        );
        if preset.compute_partitions.len() > 1 {
            assert_eq!(gpu.compute_partition.as_deref(), Some(&*preset.compute_partition));
            assert_eq!(gpu.memory_partition.as_deref(), Some(&*preset.memory_partition));
        }
        let first = (position as u32).is_multiple_of(preset.partitions());
        assert_eq!(
            gpu.device_dir.is_some(),
            first,
            "{name}: only a card's first partition"
        );
        if let Some(device) = &gpu.device_dir {
            let total = dir.path().join("root").join(device.strip_prefix("/").unwrap());
            assert!(total.join("mem_info_vram_total").is_file(), "{name}");
        }
    }
}

#[test]
fn every_preset_is_read_as_it_is() {
    for name in Preset::names() {
        check(name, &Preset::named(name).unwrap());
    }
}

#[test]
fn every_partition_mode_of_an_mi300x_and_both_spellings_of_its_partitions() {
    for (compute, memory) in [
        ("SPX", "NPS1"),
        ("DPX", "NPS1"),
        ("QPX", "NPS1"),
        ("CPX", "NPS1"),
        ("CPX", "NPS4"),
    ] {
        for spelling in ["underscore", "dot"] {
            let changes = [
                format!("compute_partition={compute}"),
                format!("memory_partition={memory}"),
                format!("xcp_spelling={spelling}"),
            ];
            let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
            check(&format!("{changes:?}"), &preset("mi300x", &changes));
        }
    }
}

#[test]
fn sixty_four_partitions() {
    let dir = node(&preset("mi300x-8-cpx", &[]));
    let inventory = read(&dir);
    assert_eq!(inventory.gpus.len(), 64);
    let uuid = &inventory.gpus[9].uuid;
    assert!(
        uuid.ends_with("-1"),
        "the second partition of the second card: {uuid}"
    );
    assert_eq!(inventory.gpus[9].linked_nodes.len(), 63);
}

#[test]
fn a_node_that_cannot_be_read_is_a_warning_and_the_others_are_there() {
    let dir = node(&preset("mi300x", &["gpus=8"]));
    let nodes = dir.path().join("root/sys/class/kfd/kfd/topology/nodes");
    let inventory = read(&dir);
    let hidden = inventory.gpus[3].node;
    std::fs::remove_file(nodes.join(hidden.to_string()).join("gpu_id")).unwrap();
    let inventory = read(&dir);
    assert_eq!(inventory.gpus.len(), 7);
    let [left_out] = inventory.left_out.as_slice() else {
        panic!("{:?}", inventory.left_out);
    };
    assert_eq!((left_out.index, left_out.node), (3, hidden));
    assert!(left_out.reason.contains("gpu_id"), "{left_out}");
}

#[test]
fn figures_that_make_no_grid_are_a_warning() {
    let dir = node(&preset("mi300x", &[]));
    let nodes = dir.path().join("root/sys/class/kfd/kfd/topology/nodes");
    let number = read(&dir).gpus[0].node;
    let file = nodes.join(number.to_string()).join("properties");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("simd_per_cu 4", "simd_per_cu 0")).unwrap();
    let inventory = read(&dir);
    assert_eq!(inventory.gpus, []);
    let complaints = complaints(&inventory);
    assert!(complaints[0].contains("simd_per_cu"), "{complaints:?}");
}

#[test]
fn no_driver_and_no_gpu_are_an_empty_inventory() {
    let empty = tempfile::tempdir().unwrap();
    let inventory = Inventory::read(empty.path(), Detail::Full).unwrap();
    assert_eq!(inventory, Inventory::default());
    let dir = node(&preset("mi300x", &[]));
    let nodes = dir.path().join("root/sys/class/kfd/kfd/topology/nodes");
    let number = read(&dir).gpus[0].node;
    std::fs::remove_dir_all(nodes.join(number.to_string())).unwrap();
    assert_eq!(read(&dir), Inventory::default(), "a node with CPUs only");
}

#[test]
fn cards_without_a_serial_number_are_told_apart_by_their_place() {
    let dir = node(&preset("mi300x", &["gpus=2"]));
    let nodes = dir.path().join("root/sys/class/kfd/kfd/topology/nodes");
    for gpu in read(&dir).gpus {
        let file = nodes.join(gpu.node.to_string()).join("properties");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("unique_id"))
            .collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
    }
    let inventory = read(&dir);
    assert_ne!(inventory.gpus[0].uuid, inventory.gpus[1].uuid);
    let expected = inventory.gpus[0].pci.to_string().replace([':', '.'], "-");
    assert_eq!(inventory.gpus[0].uuid, format!("GPU-{expected}"));
}

/// The sysfs directory of a GPU's KFD node.
fn node_dir(dir: &tempfile::TempDir, gpu: &Gpu) -> PathBuf {
    let nodes = dir.path().join("root/sys/class/kfd/kfd/topology/nodes");
    nodes.join(gpu.node.to_string())
}

/// Changes lines `KEY …` of a GPU's properties; a new value of none takes the line out.
fn change(dir: &tempfile::TempDir, gpu: &Gpu, key: &str, value: Option<u64>) {
    let file = node_dir(dir, gpu).join("properties");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed: String = text
        .lines()
        .filter_map(|line| match line.split_once(' ') {
            Some((this, _)) if this == key => Some(format!("{key} {}\n", value?)),
            _ => Some(format!("{line}\n")),
        })
        .collect();
    std::fs::write(&file, changed).unwrap();
}

fn remove_from_device(dir: &tempfile::TempDir, gpu: &Gpu, file: &str) {
    let device = gpu.device_dir.as_ref().unwrap().strip_prefix("/").unwrap();
    std::fs::remove_file(dir.path().join("root").join(device).join(file)).unwrap();
}

/// One GPU of four that has come up by half: the others serve under the numbers and names that they had.
#[test]
fn a_half_bound_gpu_is_left_out_with_a_warning() {
    type Damage = fn(&tempfile::TempDir, &Gpu);
    let damages: [(&str, Damage); 11] = [
        ("renderD129", |dir, _| {
            std::fs::remove_file(dir.path().join("root/dev/dri/renderD129")).unwrap();
        }),
        ("/sys/class/drm/renderD129", |dir, _| {
            std::fs::remove_file(dir.path().join("root/sys/class/drm/renderD129")).unwrap();
        }),
        ("is not the character device 226:129", |dir, _| {
            let dri = dir.path().join("root/dev/dri");
            std::fs::remove_file(dri.join("renderD129")).unwrap();
            std::os::unix::fs::symlink("renderD128", dri.join("renderD129")).unwrap();
        }),
        ("no drm_render_minor", |dir, gpu| {
            change(dir, gpu, "drm_render_minor", None)
        }),
        ("renderD128 is that of KFD node", |dir, gpu| {
            change(dir, gpu, "drm_render_minor", Some(128));
        }),
        ("has no simd_count", |dir, gpu| {
            std::fs::write(node_dir(dir, gpu).join("properties"), "").unwrap();
        }),
        ("properties", |dir, gpu| {
            std::fs::remove_file(node_dir(dir, gpu).join("properties")).unwrap()
        }),
        ("mem_banks", |dir, gpu| {
            std::fs::remove_dir_all(node_dir(dir, gpu).join("mem_banks")).unwrap()
        }),
        ("mem_info_vram_total", |dir, gpu| {
            remove_from_device(dir, gpu, "mem_info_vram_total")
        }),
        ("mem_info_vram_used", |dir, gpu| {
            remove_from_device(dir, gpu, "mem_info_vram_used")
        }),
        ("0 bytes", |dir, gpu| {
            std::fs::write(
                node_dir(dir, gpu).join("mem_banks/0/properties"),
                "size_in_bytes 0\n",
            )
            .unwrap();
        }),
    ];
    for (reason, damage) in damages {
        let dir = node(&preset("mi210-4", &[]));
        let whole = read(&dir);
        damage(&dir, &whole.gpus[1]);
        let inventory = read(&dir);
        let expected: Vec<_> = whole.gpus.iter().filter(|gpu| gpu.index != 1).collect();
        let names = |gpu: &Gpu| (gpu.index, gpu.uuid.clone(), gpu.pci);
        let left: Vec<_> = inventory.gpus.iter().map(names).collect();
        assert_eq!(
            left,
            expected.into_iter().map(names).collect::<Vec<_>>(),
            "{reason}"
        );
        let complaints = complaints(&inventory);
        let [complaint] = complaints.as_slice() else {
            panic!("{reason}: {complaints:?}");
        };
        let begin = format!("GPU 1 (KFD node {}) is left out: ", whole.gpus[1].node);
        assert!(
            complaint.starts_with(&begin) && complaint.contains(reason),
            "{complaint}"
        );
    }
}

/// Without any device file there is nothing to compare with: below another root they need not be there.
#[test]
fn a_tree_without_device_files_has_its_gpus() {
    let dir = node(&preset("mi210-4", &[]));
    std::fs::remove_dir_all(dir.path().join("root/dev")).unwrap();
    assert_eq!(read(&dir).gpus.len(), 4);
}

/// Whatever the topology repeats, each GPU has a name and a place.
#[test]
fn every_gpu_has_an_identity_of_its_own() {
    /// unique_id and location_id of the GPU of an index.
    type Figures = fn(u32) -> [Option<u64>; 2];
    let cases: [(&str, &[&str], Figures); 5] = [
        ("one serial number", &["gpus=4"], |at| {
            [Some(7), Some(u64::from(0x4700 + 0x100 * at))]
        }),
        ("no serial numbers, one place", &["gpus=4"], |_| {
            [Some(0), Some(0x4700)]
        }),
        ("no line of either", &["gpus=4"], |_| [None, None]),
        (
            "partitions in the highest bits",
            &["compute_partition=CPX"],
            |at| [Some(7), Some(0x4700 | u64::from(at) << 28)],
        ),
        ("partitions with one number", &["compute_partition=CPX"], |_| {
            [Some(7), Some(0x4700)]
        }),
    ];
    for (name, changes, figures) in cases {
        let dir = node(&preset("mi300x", changes));
        let before = read(&dir);
        for gpu in &before.gpus {
            let [unique_id, location_id] = figures(gpu.index);
            change(&dir, gpu, "unique_id", unique_id);
            change(&dir, gpu, "location_id", location_id);
        }
        let inventory = read(&dir);
        assert_eq!(complaints(&inventory), [""; 0], "{name}");
        let uuids: HashSet<&str> = inventory.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
        assert_eq!(uuids.len(), before.gpus.len(), "{name}: {uuids:?}");
        let places = |inventory: &Inventory| inventory.gpus.iter().map(|gpu| gpu.pci).collect::<Vec<_>>();
        assert_eq!(
            places(&inventory),
            places(&before),
            "{name}: where sysfs has the devices"
        );
    }
}

/// What README and the page on this say of GPUs is computed.
#[test]
fn readmes_table_of_least_useful_slices_is_true() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows = [
        ("MI300X, MI325X", preset("mi300x", &[])),
        ("MI300X, MI325X", preset("mi325x", &[])),
        (
            "a partition of them in CPX",
            preset("mi300x", &["compute_partition=CPX"]),
        ),
        ("a partition of an MI308X in CPX", preset("mi308x-cpx", &[])),
        ("MI210, half an MI250", preset("mi210-4", &[])),
        ("MI210, half an MI250", preset("mi250", &[])),
        ("RX 7900 XTX", preset("rx7900xtx", &[])),
    ];
    for (name, preset) in rows {
        let needs = read(&node(&preset)).gpus[0].needs;
        let nine = 9 * needs.queue + needs.least_useful() - 2 * needs.queue;
        let row = format!(
            "| {name} | {} | {} | {}Mi |\n",
            Bytes(needs.queue),
            Bytes(needs.least_useful()),
            nine.div_ceil(1 << 20)
        );
        assert!(readme.contains(&row), "{row}");
    }
}

/// The simulated device demands a save area as the kernel does.
#[test]
fn a_queue_takes_what_the_device_demands() {
    for name in Preset::names() {
        let dir = node(&Preset::named(name).unwrap());
        let devices = sdg_sim::model::read_node(&dir.path().join("root")).unwrap();
        for (gpu, device) in read(&dir).gpus.iter().zip(&devices) {
            let area = device.save_area();
            let demanded = u64::from(area.per_xcc + area.debug) * u64::from(gpu.grid.xccs);
            assert_eq!(gpu.needs.queue, demanded.next_multiple_of(4096), "{name}");
        }
    }
}
