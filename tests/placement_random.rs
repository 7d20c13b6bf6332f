//! Slices come and go at random: no unit and no byte is given twice.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by a panic"
)]

#[path = "placement_fixtures/nodes.rs"]
mod nodes;

use nodes::{House, Slice, node, request};
use proptest::prelude::*;
use sdg::compute::grid::CuGrid;
use sdg::compute::shape::Shape;
use sdg::placement::lending::{compute_masks, guaranteed_mask};
use sdg::placement::{GpuGrant, PlacementError};
use sdg::request::{ComputeRequest, Share, SliceRequest};

/// A step of a node's life.
#[derive(Clone, Debug)]
enum Step {
    Create(String),
    /// The slice at this position, modulo how many there are.
    Release(usize),
    /// A slice uses this share, in hundredths, of what it may.
    Use(usize, u64),
}

fn words() -> impl Strategy<Value = String> {
    let memory = (1u64..120, 0u64..80, any::<bool>()).prop_map(|(memory, more, burst)| match burst {
        true => format!("memory={memory}Gi memoryLimit={}Gi", memory + more),
        false => format!("memory={memory}Gi"),
    });
    let compute = prop_oneof![
        1 => Just(String::new()),
        3 => prop::sample::select(vec![100u32, 125, 250, 500, 1000]).prop_map(|m| format!(" compute={m}m")),
        2 => (1u32..=1000, 0u32..1000).prop_map(|(m, more)| {
            format!(" compute={m}m computeLimit={}m", (m + more).min(1000))
        }),
    ];
    let part = (memory, compute).prop_map(|(memory, compute)| memory + &compute);
    let share = prop_oneof![8 => part, 1 => Just("count=1".to_owned())];
    let rest = prop::sample::select(vec![
        "",
        " placement=spread",
        " gpu=1",
        " group=g",
        " count=2",
        " count=2 group=h",
    ]);
    (share, rest).prop_map(|(share, rest)| match share.starts_with("count") {
        true => share,
        false => share + rest,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => words().prop_map(Step::Create),
        2 => any::<usize>().prop_map(Step::Release),
        2 => (any::<usize>(), 0u64..=100).prop_map(|(at, share)| Step::Use(at, share)),
    ];
    prop::collection::vec(step, 1..60)
}

fn grids() -> impl Strategy<Value = CuGrid> {
    prop::sample::select(vec![
        nodes::mi300x_grid(),
        CuGrid {
            xccs: 1,
            engines: 4,
            arrays: 1,
            slots: 10,
            active_units: 38,
            paired: false,
        },
        CuGrid {
            xccs: 1,
            engines: 8,
            arrays: 1,
            slots: 16,
            active_units: 104,
            paired: false,
        },
        CuGrid {
            xccs: 1,
            engines: 6,
            arrays: 2,
            slots: 8,
            active_units: 96,
            paired: true,
        },
        CuGrid {
            xccs: 1,
            engines: 1,
            arrays: 2,
            slots: 6,
            active_units: 12,
            paired: true,
        },
        CuGrid {
            xccs: 3,
            engines: 2,
            arrays: 1,
            slots: 3,
            active_units: 17,
            paired: false,
        },
    ])
}

/// Lives a node's life; `check` looks at it after each step.
fn live(mut house: House, steps: Vec<Step>, check: impl Fn(&House)) -> House {
    for step in steps {
        match step {
            Step::Create(words) => {
                let request = request(&words);
                if let Ok(placement) = house.try_place(&request) {
                    let used = vec![0; placement.grants.len()];
                    house.slices.push(Slice {
                        name: words,
                        request,
                        grants: placement.grants,
                        used,
                    });
                }
            }
            Step::Release(at) if !house.slices.is_empty() => {
                let at = at % house.slices.len();
                house.slices.remove(at);
            }
            Step::Use(at, share) if !house.slices.is_empty() => {
                let at = at % house.slices.len();
                use_memory(&mut house, at, share);
            }
            Step::Release(_) | Step::Use(..) => {}
        }
        check(&house);
    }
    house
}

/// A slice uses part of what its page lets it have.
fn use_memory(house: &mut House, at: usize, share: u64) {
    for index in 0..house.slices[at].grants.len() {
        let uuid = house.slices[at].grants[index].uuid.clone();
        let others: u64 = grants_on(house, &uuid)
            .filter(|&(slice, _, _)| slice != at)
            .map(|(_, grant, used)| grant.memory_bytes.max(used))
            .sum();
        let capacity = nodes::MI300X_BYTES - house.rules.reserved_bytes;
        let grant = &house.slices[at].grants[index];
        let most = grant
            .memory_limit_bytes
            .min(capacity.saturating_sub(others))
            .max(grant.memory_bytes);
        house.slices[at].used[index] = most / 100 * share;
    }
}

/// Grants on a GPU: position of the slice, grant, bytes in use.
fn grants_on<'a>(house: &'a House, uuid: &'a str) -> impl Iterator<Item = (usize, &'a GpuGrant, u64)> {
    house.slices.iter().enumerate().flat_map(move |(at, slice)| {
        let used = slice.grants.iter().zip(&slice.used);
        used.filter(move |(grant, _)| grant.uuid == uuid)
            .map(move |(grant, used)| (at, grant, *used))
    })
}

fn nothing_is_given_twice(house: &House) {
    for gpu in &house.inventory.gpus {
        let held: Vec<(usize, &GpuGrant, u64)> = grants_on(house, &gpu.uuid).collect();
        if held.iter().any(|(_, grant, _)| grant.exclusive) {
            assert_eq!(held.len(), 1, "a whole GPU is shared");
            continue;
        }
        let memory: u64 = held
            .iter()
            .map(|(_, grant, used)| grant.memory_bytes.max(*used))
            .sum();
        assert!(
            memory <= gpu.memory_bytes - house.rules.reserved_bytes,
            "{memory} bytes promised"
        );
        let grants: Vec<&GpuGrant> = held.iter().map(|(_, grant, _)| *grant).collect();
        let guaranteed: Vec<_> = grants
            .iter()
            .map(|grant| guaranteed_mask(&gpu.grid, grant))
            .collect();
        let masks = compute_masks(&gpu.grid, &grants);
        let millis: u32 = held
            .iter()
            .map(|(at, _, _)| guarantee(&house.slices[*at].request))
            .sum();
        assert!(millis <= 1000, "{millis}m guaranteed");
        for (at, mask) in masks.iter().enumerate() {
            assert!(
                gpu.grid.covers_every_xcc(mask),
                "an XCC without a unit: {:?}",
                held[at].1
            );
            assert!(gpu.grid.effective_units(mask) > 0);
            assert_eq!(
                mask.count(),
                mask.intersection(&gpu.grid.full_mask()).count(),
                "a bit of no unit"
            );
            for (other, theirs) in guaranteed.iter().enumerate().filter(|(other, _)| *other != at) {
                assert!(
                    !mask.overlaps(theirs),
                    "{:?} and {:?} share units",
                    held[at].1,
                    held[other].1
                );
            }
            assert_eq!(guaranteed[at].without(mask).count(), 0, "less than the guarantee");
        }
    }
}

fn guarantee(request: &SliceRequest) -> u32 {
    match request.share {
        Share::Part {
            compute: ComputeRequest::Guaranteed { guarantee, .. },
            ..
        } => guarantee.0,
        _ => 0,
    }
}

fn house(grid: CuGrid, shape: Shape) -> House {
    let mut house = House::new(node(3, 2));
    house.rules.shape = shape;
    for gpu in &mut house.inventory.gpus {
        gpu.grid = grid;
    }
    house
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_unit_and_no_byte_twice(
        grid in grids(), shape in prop::sample::select(vec![Shape::Auto, Shape::Rows, Shape::Engines]), steps in steps(),
    ) {
        live(house(grid, shape), steps, nothing_is_given_twice);
    }

    /// What was granted is what was asked: several GPUs are distinct, a mask is the slice's own, numbers agree.
    #[test]
    fn grants_are_what_was_asked(grid in grids(), steps in steps()) {
        let house = live(house(grid, Shape::Auto), steps, |_| {});
        for slice in &house.slices {
            prop_assert_eq!(slice.grants.len(), slice.request.count as usize);
            prop_assert!(slice.grants.windows(2).all(|pair| pair[0].index < pair[1].index));
            for grant in &slice.grants {
                if let Share::Part { memory, .. } = slice.request.share {
                    prop_assert_eq!((grant.memory_bytes, grant.memory_limit_bytes), (memory.guarantee, memory.limit));
                    prop_assert_eq!(grant.effective_units, grid.effective_units(&grant.cu_mask));
                    prop_assert!(grant.compute_limit_units >= grant.compute_units);
                    prop_assert!(grant.cu_mask.count() <= grant.compute_limit_units);
                }
            }
        }
    }

    /// After everything is gone, everything can be had again; and a refusal does not depend on the order of slices.
    #[test]
    fn nothing_is_lost_and_refusals_keep_no_order(grid in grids(), steps in steps(), words in words()) {
        let mut house = live(house(grid, Shape::Auto), steps, |_| {});
        let request = request(&words);
        let kind = |outcome: &Result<_, PlacementError>| outcome.as_ref().err().map(std::mem::discriminant);
        let there = house.try_place(&request);
        house.slices.reverse();
        prop_assert_eq!(kind(&house.try_place(&request)), kind(&there));
        house.slices.clear();
        prop_assert!(house.add("all", "count=3").is_ok());
    }
}
