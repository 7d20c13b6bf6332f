//! A card's `ip_discovery`: the blocks that its chip is made of. Formats: Linux, amdgpu_discovery.c (the `*_show`
//! functions).

use std::collections::BTreeMap;

use super::tree::Tree;
use crate::block::{Block, GC, SDMA0};
use crate::preset::Preset;

/// Plans the directory of the card at `card`: none where the kernel knows the chip without its table.
pub(super) fn plan(preset: &Preset, card: &str, tree: &mut Tree) {
    let blocks: Vec<Block> = preset
        .ip_versions
        .iter()
        .filter_map(|line| Block::parse(line))
        .collect();
    if blocks.is_empty() {
        return;
    }
    let die = format!("{card}/ip_discovery/die/0");
    tree.value(format!("{die}/num_ips"), blocks.len());
    let mut instances: BTreeMap<u32, u32> = BTreeMap::new();
    for block in &blocks {
        let kind = format!("{die}/{}", block.hw_id);
        let number = instances.entry(block.hw_id).or_default();
        if *number == 0 {
            tree.link(format!("{die}/{}", block.name), &kind);
        }
        plan_instance(
            block,
            (*number, is_in_service(preset, block, *number)),
            &kind,
            tree,
        );
        *number += 1;
    }
}

fn plan_instance(block: &Block, (number, in_service): (u32, bool), kind: &str, tree: &mut Tree) {
    let directory = format!("{kind}/{number}");
    for (name, value) in [
        ("hw_id", block.hw_id),
        ("num_instance", number),
        ("major", block.version[0].into()),
        ("minor", block.version[1].into()),
        ("revision", block.version[2].into()),
        ("num_base_addresses", block.base_addresses.len() as u32),
    ] {
        tree.value(format!("{directory}/{name}"), value);
    }
    tree.value(
        format!("{directory}/harvest"),
        if in_service { "0x0" } else { "0x1" },
    );
    let addresses = block
        .base_addresses
        .iter()
        .map(|address| format!("0x{address:08X}\n"));
    tree.file(format!("{directory}/base_addr"), addresses.collect::<String>());
}

/// The table lists what the chip was made with; XCCs and copy engines that a product lacks are marked.
fn is_in_service(preset: &Preset, block: &Block, number: u32) -> bool {
    match block.hw_id {
        GC => number < preset.xcc,
        SDMA0 => number < preset.sdma_engines,
        _ => true,
    }
}
