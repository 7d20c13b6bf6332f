//! What lies between guarantee and limit.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by a panic"
)]

#[path = "placement_fixtures/nodes.rs"]
mod nodes;

use nodes::{House, MI300X_BYTES, mi300x, mi300x_grid, node};
use proptest::prelude::*;
use sdg::compute::mask::CuMask;
use sdg::placement::GpuGrant;
use sdg::placement::lending::{MemoryHolding, compute_masks, memory_limits};

const GIB: u64 = 1 << 30;

fn holding(guarantee: u64, limit: u64, used: u64) -> MemoryHolding {
    MemoryHolding {
        guarantee: guarantee * GIB,
        limit: limit * GIB,
        used: used * GIB,
    }
}

/// Limits in GiB.
fn limits(capacity: u64, holdings: &[MemoryHolding]) -> Vec<u64> {
    memory_limits(capacity * GIB, holdings)
        .into_iter()
        .map(|bytes| bytes / GIB)
        .collect()
}

#[test]
fn free_memory_is_shared_by_those_who_may_burst() {
    assert_eq!(limits(100, &[]), [0; 0]);
    assert_eq!(limits(100, &[holding(20, 20, 5)]), [20]);
    assert_eq!(limits(100, &[holding(20, 200, 0)]), [100]);
    assert_eq!(limits(100, &[holding(20, 50, 0), holding(20, 20, 0)]), [50, 20]);
    assert_eq!(limits(100, &[holding(20, 100, 0), holding(20, 100, 0)]), [50, 50]);
    // The same amount above the guarantee, but for the nearer limit.
    assert_eq!(
        limits(
            100,
            &[holding(10, 15, 0), holding(20, 100, 0), holding(30, 100, 0)]
        ),
        [15, 37, 47]
    );
    // What is in use cannot be taken away; the others share the rest.
    assert_eq!(
        limits(
            100,
            &[holding(10, 80, 60), holding(10, 80, 0), holding(10, 80, 0)]
        ),
        [60, 20, 20]
    );
    assert_eq!(
        limits(100, &[holding(50, 60, 60), holding(50, 60, 40)]),
        [60, 50],
        "full: nothing more is lent"
    );
    assert_eq!(
        memory_limits(u64::MAX, &[holding(1, 2, 0), MemoryHolding::default()]),
        [2 * GIB, 0]
    );
}

proptest! {
    #[test]
    fn memory_is_never_promised_twice(
        parts in prop::collection::vec((0u64..1000, 0u64..1000, 0u64..2000), 0..12), slack in 0u64..3000,
    ) {
        let holdings: Vec<MemoryHolding> = parts
            .iter()
            .map(|&(guarantee, burst, used)| MemoryHolding { guarantee, limit: guarantee + burst, used })
            .collect();
        let held: u64 = holdings.iter().map(MemoryHolding::held).sum();
        let capacity = held + slack;
        let limits = memory_limits(capacity, &holdings);
        prop_assert_eq!(limits.len(), holdings.len());
        prop_assert!(limits.iter().sum::<u64>() <= capacity);
        for (limit, holding) in limits.iter().zip(&holdings) {
            prop_assert!(*limit >= holding.guarantee.max(holding.used.min(holding.limit)));
            prop_assert!(*limit <= holding.limit);
        }
        // Nothing lies idle while somebody could have it, but for less than a byte each.
        let idle = capacity - limits.iter().sum::<u64>();
        let hungry = limits.iter().zip(&holdings).filter(|(limit, holding)| **limit < holding.limit).count();
        prop_assert!(hungry == 0 || idle < holdings.len() as u64, "{idle} bytes idle, {hungry} hungry");
        // Who is where in the list does not matter.
        let reversed: Vec<MemoryHolding> = holdings.iter().rev().copied().collect();
        let mut back = memory_limits(capacity, &reversed);
        back.reverse();
        prop_assert_eq!(back, limits);
    }
}

/// Masks of all slices of a house's first GPU.
fn masks(house: &House) -> Vec<CuMask> {
    let grants: Vec<&GpuGrant> = house.slices.iter().map(|slice| &slice.grants[0]).collect();
    compute_masks(&house.inventory.gpus[0].grid, &grants)
}

/// What each slice's mask delivers.
fn delivered(house: &House) -> Vec<u32> {
    masks(house)
        .iter()
        .map(|mask| house.inventory.gpus[0].grid.effective_units(mask))
        .collect()
}

#[test]
fn units_are_lent_up_to_the_limit_and_taken_back() {
    let mut house = House::new(node(1, 1));
    house
        .add("burst", "memory=1Gi compute=250m computeLimit=500m")
        .unwrap();
    assert_eq!(delivered(&house), [144]);
    assert_eq!(house.slices[0].grants[0].compute_limit_units, 144);
    house.add("fixed", "memory=1Gi compute=500m").unwrap();
    assert_eq!(delivered(&house), [144, 144]);
    house.add("late", "memory=1Gi compute=250m").unwrap();
    assert_eq!(
        delivered(&house),
        [72, 144, 72],
        "a guarantee takes back what was lent"
    );
    house.slices.remove(1);
    assert_eq!(delivered(&house), [144, 72]);
}

#[test]
fn two_are_not_lent_the_same_while_there_is_other() {
    let mut house = House::new(node(1, 1));
    house
        .add("a", "memory=1Gi compute=250m computeLimit=500m")
        .unwrap();
    house
        .add("b", "memory=1Gi compute=250m computeLimit=500m")
        .unwrap();
    let both = masks(&house);
    assert_eq!(delivered(&house), [144, 144]);
    assert!(!both[0].overlaps(&both[1]));
    house.slices.clear();
    house
        .add("a", "memory=1Gi compute=250m computeLimit=1000m")
        .unwrap();
    house
        .add("b", "memory=1Gi compute=250m computeLimit=1000m")
        .unwrap();
    assert_eq!(delivered(&house), [216, 216], "else they share");
}

#[test]
fn alone_up_to_the_whole_gpu() {
    let mut house = House::new(node(1, 1));
    house
        .add("a", "memory=1Gi compute=100m computeLimit=1000m")
        .unwrap();
    assert_eq!(masks(&house), [CuMask::lowest(304)], "the ragged tail too");
    house.add("b", "memory=1Gi").unwrap();
    assert_eq!(
        masks(&house)[1].count(),
        304 - 32,
        "best effort is on all that nobody has a guarantee on"
    );
    house.add("c", "count=1").expect_err("not alone");
}

#[test]
fn whole_gpus_have_no_mask() {
    let mut house = House::new(node(1, 1));
    house.add("a", "count=1").unwrap();
    assert_eq!(masks(&house), [CuMask::default()]);
    assert_eq!(house.slices[0].grants[0].memory_bytes, MI300X_BYTES);
}

#[test]
fn lending_only_raises_what_is_delivered() {
    for grid in [
        mi300x_grid(),
        sdg::compute::grid::CuGrid {
            xccs: 1,
            engines: 6,
            arrays: 2,
            slots: 8,
            active_units: 96,
            paired: true,
        },
    ] {
        for (first, second, limit) in [(100, 250, 300), (125, 125, 999), (333, 100, 700), (50, 600, 400)] {
            let mut gpu = mi300x(0);
            gpu.grid = grid;
            let mut house = House::new(sdg::inventory::Inventory {
                gpus: vec![gpu],
                ..sdg::inventory::Inventory::default()
            });
            house
                .add(
                    "burst",
                    &format!("memory=1Gi compute={first}m computeLimit={limit}m"),
                )
                .unwrap();
            house
                .add("fixed", &format!("memory=1Gi compute={second}m"))
                .unwrap();
            let burst = &house.slices[0].grants[0];
            let own = grid.rect_mask(&burst.rect.unwrap());
            let mask = &masks(&house)[0];
            assert_eq!(own.without(mask).count(), 0, "the guarantee stays");
            assert!(!mask.overlaps(&masks(&house)[1]));
            assert!(mask.count() <= burst.compute_limit_units);
            assert_eq!(
                grid.effective_units(mask),
                mask.count(),
                "no unit is lent in vain"
            );
            assert!(
                grid.effective_units(mask) > grid.effective_units(&own),
                "{first}m of {limit}m on {grid:?}"
            );
        }
    }
}
