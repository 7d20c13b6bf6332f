//! Where slices go, and what a refusal says.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by a panic"
)]

#[path = "placement_fixtures/nodes.rs"]
mod nodes;

use nodes::{House, MI300X_BYTES, mi300x, node, request};
use sdg::compute::explain::explain;
use sdg::compute::mask::CuMask;
use sdg::inventory::{Inventory, PciAddress};
use sdg::placement::{PlacementError, Rules};

const GIB: u64 = 1 << 30;

/// Indices of the GPUs that a slice got.
fn gpus(house: &mut House, name: &str, words: &str) -> Vec<u32> {
    let grants = house
        .add(name, words)
        .unwrap_or_else(|error| panic!("{words}: {error}"));
    grants.iter().map(|grant| grant.index).collect()
}

/// What the refusal of a request says.
fn refusal(house: &House, words: &str) -> String {
    let text = house
        .try_place(&request(words))
        .expect_err("a refusal")
        .to_string();
    assert!(!text.contains('\n'), "more than a line: {text}");
    text
}

fn one_gpu() -> House {
    House::new(node(1, 1))
}

#[test]
fn a_quarter_is_one_shader_engine_of_every_xcc() {
    let mut house = one_gpu();
    let grid = house.inventory.gpus[0].grid;
    let grant = house.add("a", "memory=20Gi compute=250m").unwrap()[0].clone();
    assert_eq!(
        (grant.memory_bytes, grant.memory_limit_bytes),
        (20 * GIB, 20 * GIB)
    );
    assert_eq!(
        (grant.requested_units, grant.compute_units, grant.effective_units),
        (76, 72, 72)
    );
    assert_eq!(grant.compute_limit_units, 72);
    assert_eq!(grant.cu_mask.count(), 72);
    assert_eq!(
        explain(&grid, &grant),
        "76 asked: 64 effective in order, 72 as one shader engine of every XCC"
    );
    let other = house.add("b", "memory=20Gi compute=250m").unwrap()[0].clone();
    assert!(!grant.cu_mask.overlaps(&other.cu_mask));
}

#[test]
fn explanations() {
    let cases = [
        (
            "memory=1Gi compute=500m",
            "152 asked: 128 effective in order, 144 as 2 shader engines of every XCC",
        ),
        (
            "memory=1Gi compute=125m",
            "38 asked: 32 effective in order, 40 as 5 CU slots in one shader engine of every XCC",
        ),
        (
            "memory=1Gi compute=1000m",
            "304 asked: 288 effective in order, 288 as the whole grid of every XCC",
        ),
        (
            "memory=1Gi compute=900m",
            "274 asked: 256 effective in order, 288 as the whole grid of every XCC",
        ),
        (
            "memory=1Gi",
            "best effort: 304 units without a guarantee, 288 effective",
        ),
        ("count=1", "whole GPU: 304 units, 288 effective"),
        (
            "memory=1Gi compute=250m computeLimit=1000m",
            "76 asked: 64 effective in order, 72 as one shader engine of every XCC, 288 with what is lent",
        ),
    ];
    for (words, expected) in cases {
        let mut house = one_gpu();
        let grid = house.inventory.gpus[0].grid;
        assert_eq!(
            explain(&grid, &house.add("a", words).unwrap()[0]),
            expected,
            "{words}"
        );
    }
    let mut house = one_gpu();
    let grid = house.inventory.gpus[0].grid;
    for _ in 0..4 {
        house.add("a", "memory=1Gi compute=125m").unwrap();
    }
    assert_eq!(
        explain(&grid, &house.add("a", "memory=1Gi compute=125m").unwrap()[0]),
        "38 asked: 32 effective in order, 32 as 4 CU slots in one shader engine of every XCC (one step below the 36 \
         aimed at: nothing larger was free)"
    );
}

#[test]
fn the_whole_compute_has_the_ragged_tail_too() {
    let mut house = one_gpu();
    let grant = house.add("a", "memory=20Gi compute=1").unwrap()[0].clone();
    assert_eq!(grant.cu_mask, CuMask::lowest(304));
    assert_eq!((grant.compute_units, grant.effective_units), (304, 288));
    assert_eq!(
        refusal(&house, "memory=1Gi compute=1m"),
        "sdg.compute: asked 1m on one GPU; most free: 0m on GPU 0"
    );
    assert_eq!(
        refusal(&house, "memory=1Gi"),
        "sdg.compute: absent, and others have a guarantee on every compute unit (GPU 0: a)"
    );
}

#[test]
fn guaranteed_thousandths_never_exceed_a_gpu() {
    let mut house = one_gpu();
    house.rules.shape = sdg::compute::shape::Shape::Auto;
    for _ in 0..2 {
        house.add("half", "memory=1Gi compute=500m").unwrap();
    }
    assert_eq!(
        refusal(&house, "memory=1Gi compute=1m"),
        "sdg.compute: asked 1m on one GPU; most free: 0m on GPU 0"
    );
}

#[test]
fn slices_without_a_guarantee_live_on_what_is_left() {
    let mut house = one_gpu();
    house.add("a", "memory=1Gi compute=500m").unwrap();
    let grant = house.add("b", "memory=1Gi").unwrap()[0].clone();
    assert_eq!(grant.cu_mask.count(), 304 - 144);
    assert!(!grant.cu_mask.overlaps(&house.slices[0].grants[0].cu_mask));
    assert_eq!(
        (grant.rect, grant.requested_units, grant.compute_units),
        (None, 0, 0)
    );
    assert_eq!(grant.compute_limit_units, 304);
    // The tail's 16 units cover every XCC, so the rest of the grid can still be had, but not the tail itself.
    house.add("c", "memory=1Gi compute=500m").unwrap();
    let mut house = one_gpu();
    house.add("b", "memory=1Gi").unwrap();
    assert_eq!(
        refusal(&house, "memory=1Gi compute=1000m"),
        "sdg.compute: asked 1000m on one GPU; most free: 999m on GPU 0 (slices without a guarantee there keep the last \
         units)"
    );
    // A chip without a tail keeps a cell for them.
    house = one_gpu();
    house.inventory.gpus[0].grid.active_units = 288;
    house.add("b", "memory=1Gi").unwrap();
    house.add("a", "memory=1Gi compute=500m").unwrap();
    assert!(refusal(&house, "memory=1Gi compute=500m").contains("keep the last units"));
    house.add("c", "memory=1Gi compute=250m").unwrap();
}

#[test]
fn pack_fills_the_fullest_and_spread_takes_the_emptiest() {
    let mut house = House::new(node(3, 3));
    assert_eq!(gpus(&mut house, "a", "memory=20Gi compute=250m gpu=1"), [1]);
    assert_eq!(gpus(&mut house, "b", "memory=20Gi compute=250m"), [1]);
    assert_eq!(
        gpus(&mut house, "c", "memory=20Gi compute=250m placement=spread"),
        [0]
    );
    assert_eq!(gpus(&mut house, "d", "memory=1Gi placement=spread"), [2]);
    assert_eq!(
        gpus(&mut house, "e", "memory=180Gi"),
        [2],
        "the others have 171.48Gi and less"
    );
}

#[test]
fn a_guarantee_met_in_full_comes_before_packing() {
    let mut house = House::new(node(2, 2));
    let indices: Vec<u32> = (0..16)
        .flat_map(|_| gpus(&mut house, "a", "memory=1Gi compute=125m"))
        .collect();
    assert_eq!(indices, [[0; 4], [1; 4], [0; 4], [1; 4]].concat());
}

#[test]
fn pins_by_index_uuid_and_pci_address() {
    let mut house = House::new(node(4, 4));
    assert_eq!(gpus(&mut house, "a", "memory=1Gi gpu=2"), [2]);
    assert_eq!(gpus(&mut house, "b", "memory=1Gi gpu=GPU-6f7bf9e13e8c2a03"), [3]);
    assert_eq!(gpus(&mut house, "c", "memory=1Gi gpu=0000:06:00.0"), [1]);
    assert_eq!(
        refusal(&house, "memory=1Gi gpu=4"),
        "sdg.gpu: 4 is not here (there are 0, 1, 2, 3)"
    );
    assert_eq!(
        refusal(&one_gpu(), "memory=1Gi gpu=GPU-1"),
        "sdg.gpu: GPU-1 is not here (there is GPU-6f7bf9e13e8c2a00)"
    );
    assert_eq!(
        refusal(&House::new(node(2, 2)), "memory=1Gi gpu=0000:47:00.0"),
        "sdg.gpu: 0000:47:00.0 is not here (there are 0000:05:00.0, 0000:06:00.0)"
    );
    assert_eq!(
        refusal(&house, "memory=1Gi gpu=0 count=2"),
        "sdg.count: 2 is more than the GPUs that sdg.gpu: 0 names (1)"
    );
    assert!(
        refusal(&House::new(node(12, 1)), "memory=1Gi gpu=99")
            .ends_with("(there are 0, 1, 2, 3, 4, 5, 6, 7 and 4 more)")
    );
}

#[test]
fn a_pci_address_pins_all_partitions_of_a_card() {
    let mut inventory = node(8, 1);
    for gpu in &mut inventory.gpus {
        gpu.pci = PciAddress {
            domain: 0,
            bus: 5 + (gpu.index / 4) as u8,
            device: 0,
            function: 0,
        };
    }
    let mut house = House::new(inventory);
    assert_eq!(
        gpus(&mut house, "a", "memory=1Gi gpu=0000:06:00.0 count=4"),
        [4, 5, 6, 7]
    );
}

#[test]
fn memory_refusals_name_what_would_fit() {
    let mut house = House::new(node(4, 4));
    for (gpu, used) in [(0, 180), (1, 170), (2, 175), (3, 150)] {
        house.add("a", &format!("memory={used}Gi gpu={gpu}")).unwrap();
    }
    assert_eq!(
        refusal(&house, "memory=60Gi"),
        "sdg.memory: asked 60Gi on one GPU; most free: 41.48Gi on GPU 3"
    );
    assert_eq!(
        refusal(&house, "memory=60Gi gpu=1"),
        "sdg.memory: asked 60Gi on one GPU; most free: 21.48Gi on GPU 1"
    );
    assert_eq!(
        refusal(&house, "memory=300Gi"),
        "sdg.memory: 300Gi is more than any GPU here has (largest: 191.98Gi on GPU 0)"
    );
    assert_eq!(
        refusal(&house, "memory=1Gi memoryLimit=300Gi"),
        "sdg.memoryLimit: 300Gi is more than any GPU here has (largest: 191.98Gi on GPU 0)"
    );
    assert_eq!(
        refusal(&house, "memory=191.9Gi"),
        "sdg.memory: 191.9Gi is more than any GPU here can give (largest: 191.48Gi on GPU 0, 512Mi kept back for the \
         driver)"
    );
}

#[test]
fn a_limit_has_to_fit_the_gpu_too() {
    let mut inventory = node(2, 2);
    inventory.gpus[0].memory_bytes = 64 * GIB;
    let mut house = House::new(inventory);
    assert_eq!(gpus(&mut house, "a", "memory=10Gi memoryLimit=100Gi"), [1]);
    assert_eq!(
        refusal(&house, "memory=10Gi memoryLimit=100Gi gpu=0"),
        "sdg.memoryLimit: 100Gi is more than the pinned GPU has (largest: 64Gi on GPU 0)"
    );
    house.add("b", "memory=180Gi gpu=1").unwrap();
    assert_eq!(
        refusal(&house, "memory=10Gi memoryLimit=100Gi"),
        "sdg.memory: asked 10Gi on one GPU; most free: 1.48Gi on GPU 1",
        "GPU 0 has more free, but never so much as the limit"
    );
}

#[test]
fn compute_refusals_name_what_would_fit() {
    let mut house = House::new(node(2, 2));
    house.add("a", "memory=1Gi compute=750m gpu=0").unwrap();
    house.add("b", "memory=1Gi compute=600m gpu=1").unwrap();
    assert_eq!(
        refusal(&house, "memory=1Gi compute=500m"),
        "sdg.compute: asked 500m on one GPU; most free: 333m on GPU 1"
    );
    house.add("b", "memory=1Gi compute=333m").unwrap();
    house.add("big", "memory=180Gi gpu=0").unwrap();
    assert_eq!(
        refusal(&house, "memory=60Gi compute=250m"),
        "sdg.memory, sdg.compute: asked 60Gi and 250m on one GPU; most memory free: 189.48Gi on GPU 1, most compute \
         free: 250m on GPU 0"
    );
}

#[test]
fn what_a_refusal_offers_can_be_had_in_full() {
    let mut house = one_gpu();
    house.add("a", "memory=100Gi compute=430m").unwrap();
    house.add("b", "memory=1Gi compute=77m").unwrap();
    let Err(PlacementError::Compute { most, .. }) = house.try_place(&request("memory=1Gi compute=570m"))
    else {
        panic!("570m fits");
    };
    let granted = house
        .try_place(&request(&format!("memory=1Gi compute={most}")))
        .unwrap()
        .grants;
    assert!(
        granted[0].effective_units * 1000 >= most.0 * 288,
        "not in full: {granted:?}"
    );
}

#[test]
fn lent_memory_in_use_counts_and_its_user_is_named() {
    let mut house = one_gpu();
    house.add("burst", "memory=20Gi memoryLimit=150Gi").unwrap();
    house.add("idle", "memory=20Gi memoryLimit=150Gi").unwrap();
    assert!(house.try_place(&request("memory=120Gi")).is_ok());
    house.slices[0].used = vec![90 * GIB];
    assert_eq!(
        refusal(&house, "memory=120Gi"),
        "sdg.memory: asked 120Gi on one GPU; most free: 81.48Gi on GPU 0, where above their guarantee burst uses 70Gi"
    );
    assert!(house.try_place(&request("memory=81Gi")).is_ok());
    house.slices[0].used = vec![30 * GIB];
    assert!(house.try_place(&request("memory=120Gi")).is_ok());
}

#[test]
fn whole_gpus_are_alone_both_ways() {
    let mut house = House::new(node(2, 2));
    house.add("web", "memory=1Gi").unwrap();
    assert_eq!(
        refusal(&house, "count=2"),
        "asked 2 GPUs whole; without slices: 1 (GPU 0: web)"
    );
    let grant = house.add("train", "count=1").unwrap()[0].clone();
    assert_eq!(
        (grant.index, grant.exclusive, grant.memory_bytes),
        (1, true, MI300X_BYTES)
    );
    assert!(grant.cu_mask.words().is_empty());
    assert_eq!(
        refusal(&house, "memory=1Gi gpu=1"),
        "every GPU that would do is taken whole (GPU 1: train)"
    );
    assert_eq!(
        refusal(&house, "gpu=0"),
        "asked one GPU whole; without slices: 0 (GPU 0: web)"
    );
    assert_eq!(gpus(&mut house, "b", "memory=1Gi compute=250m"), [0]);
}

#[test]
fn several_gpus_are_distinct_linked_and_near() {
    let mut house = House::new(node(8, 2));
    house.add("a", "memory=100Gi gpu=0").unwrap();
    assert_eq!(
        gpus(&mut house, "pair", "memory=150Gi compute=250m count=2"),
        [2, 3]
    );
    assert_eq!(gpus(&mut house, "whole", "count=2"), [4, 5]);
    let mut house = House::new(node(8, 8));
    house.add("a", "memory=100Gi gpu=2").unwrap();
    assert_eq!(
        gpus(&mut house, "near", "memory=150Gi count=4 placement=spread"),
        [4, 5, 6, 7]
    );
    assert_eq!(
        refusal(&house, "memory=150Gi count=4"),
        "sdg.count: asked 4 GPUs; with room for the slice: 3 (0, 1, 3)"
            .replace("0, 1, 3", "GPU 0, GPU 1, GPU 3")
    );
    assert_eq!(
        refusal(&house, "memory=1Gi count=9"),
        "sdg.count: 9 is more than the GPUs here (8)"
    );
}

#[test]
fn groups_stay_together() {
    let mut house = House::new(node(4, 2));
    assert_eq!(gpus(&mut house, "a", "memory=100Gi group=g gpu=2"), [2]);
    house.add("other", "memory=50Gi gpu=0").unwrap();
    assert_eq!(
        gpus(&mut house, "b", "memory=50Gi group=g"),
        [2],
        "the group's own GPU comes first"
    );
    assert_eq!(
        gpus(&mut house, "c", "memory=100Gi group=g"),
        [3],
        "then one that is linked to it"
    );
    assert_eq!(
        gpus(&mut house, "d", "memory=100Gi group=h"),
        [0],
        "another group goes anywhere"
    );
    assert_eq!(
        refusal(&house, "memory=150Gi group=g"),
        "sdg.group: g is on GPU 2, GPU 3; there and on GPUs linked to it: sdg.memory: asked 150Gi on one GPU; most \
         free: 91.48Gi on GPU 3"
    );
    assert_eq!(
        refusal(&house, "memory=1Gi group=new count=3"),
        "sdg.group: new: asked 3 GPUs linked to one another; most linked with room: 2"
    );
    assert_eq!(gpus(&mut house, "e", "memory=1Gi group=new count=2"), [0, 1]);
}

#[test]
fn a_group_stays_on_its_gpu_even_where_slices_are_spread() {
    let mut house = House::new(node(4, 4));
    assert_eq!(gpus(&mut house, "a", "memory=100Gi group=g gpu=2"), [2]);
    assert_eq!(gpus(&mut house, "b", "memory=1Gi group=g placement=spread"), [2]);
}

#[test]
fn partitions_of_a_card_are_linked() {
    let mut inventory = node(4, 1);
    for gpu in &mut inventory.gpus {
        gpu.pci = PciAddress {
            domain: 0,
            bus: 5 + (gpu.index / 2) as u8,
            device: 0,
            function: 0,
        };
    }
    let mut house = House::new(inventory);
    assert_eq!(gpus(&mut house, "a", "memory=1Gi group=g gpu=3"), [3]);
    assert_eq!(gpus(&mut house, "b", "memory=1Gi group=g count=2"), [2, 3]);
    assert!(refusal(&house, "memory=1Gi group=g count=3").starts_with("sdg.group: g is on GPU 2, GPU 3; "));
}

#[test]
fn no_gpu_and_gpus_that_went_away() {
    let house = House::new(Inventory::default());
    assert_eq!(
        refusal(&house, "memory=1Gi"),
        "there is no AMD GPU here that slices can be made of"
    );
    let mut house = House::new(node(2, 2));
    house.add("gone", "memory=100Gi compute=500m gpu=1").unwrap();
    house.inventory.gpus.pop();
    assert_eq!(gpus(&mut house, "a", "memory=150Gi compute=1000m"), [0]);
}

#[test]
fn reserve_and_shape_are_rules_of_the_house() {
    let mut house = one_gpu();
    house.rules = Rules {
        reserved_bytes: 0,
        shape: sdg::compute::shape::Shape::Rows,
    };
    let grant = house.add("a", "memory=206141652992 compute=250m").unwrap()[0].clone();
    assert_eq!(grant.rect.map(|rect| rect.engines), Some(4));
    let mut mi210 = mi300x(0);
    mi210.grid = sdg::compute::grid::CuGrid {
        xccs: 1,
        engines: 8,
        slots: 16,
        active_units: 104,
        ..mi210.grid
    };
    let mut house = House::new(Inventory {
        gpus: vec![mi210],
        ..Inventory::default()
    });
    house.rules.shape = sdg::compute::shape::Shape::Engines;
    let rect = house.add("a", "memory=1Gi compute=250m").unwrap()[0]
        .rect
        .unwrap();
    assert_eq!((rect.engines, rect.slots), (2, 13));
}
