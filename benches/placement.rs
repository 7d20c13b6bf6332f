//! How long a placement takes: one MI300X against a naive scan, and a node of 64 GPUs with 576 slices.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sdg::compute::cells::{CellRect, Cells};
use sdg::compute::fit::{Plan, Step};
use sdg::compute::grid::CuGrid;
use sdg::compute::shape::Shape;
use sdg::inventory::{Gpu, Inventory, Needs, PciAddress};
use sdg::placement::{GpuGrant, Rules, Taken, place};
use sdg::request::{
    ComputeRequest, Enforcement, MemoryRequest, Millis, PlacementPolicy, Share, SliceRequest,
};
use std::hint::black_box;

const MI300X: CuGrid = CuGrid {
    xccs: 8,
    engines: 4,
    arrays: 1,
    slots: 10,
    active_units: 304,
    paired: false,
};
/// As large as the kernel's masks reach.
const LARGEST: CuGrid = CuGrid {
    xccs: 1,
    engines: 8,
    arrays: 2,
    slots: 16,
    active_units: 256,
    paired: false,
};

fn gpu(index: u32) -> Gpu {
    Gpu {
        index,
        uuid: format!("GPU-{index:016x}"),
        name: "AMD Instinct MI300X".to_owned(),
        pci: PciAddress {
            domain: 0,
            bus: index as u8,
            device: 0,
            function: 0,
        },
        node: index,
        gpu_id: index,
        render_minor: 128 + index,
        memory_bytes: 206_141_652_992,
        grid: MI300X,
        integrated: false,
        excluded: false,
        needs: Needs { queue: 186_019_840 },
        compute_partition: None,
        memory_partition: None,
        numa_node: Some(0),
        linked_nodes: (0..64).filter(|&other| other != index).collect(),
        device_dir: None,
    }
}

fn request(share: u32, count: u32) -> SliceRequest {
    let memory = MemoryRequest {
        guarantee: 1 << 30,
        limit: 1 << 30,
    };
    let compute = ComputeRequest::Guaranteed {
        guarantee: Millis(share),
        limit: Millis(share),
    };
    SliceRequest {
        share: Share::Part { memory, compute },
        count,
        gpu: None,
        group: None,
        placement: PlacementPolicy::Pack,
        enforcement: Enforcement::Cooperative,
    }
}

/// Nine slices of 100m on each of 64 GPUs, but one slice less on the last.
fn full_node(inventory: &Inventory) -> Vec<(SliceRequest, Vec<GpuGrant>)> {
    let mut slices: Vec<(SliceRequest, Vec<GpuGrant>)> = Vec::new();
    for _ in 0..64 * 9 - 1 {
        let request = request(100, 1);
        let placed = place(&request, inventory, &taken(&slices), &Rules::default());
        slices.extend(placed.map(|placement| (request, placement.grants)));
    }
    slices
}

fn taken(slices: &[(SliceRequest, Vec<GpuGrant>)]) -> Vec<Taken<'_>> {
    let slice = |(request, grants)| Taken {
        id: "0123456789ab",
        name: None,
        request,
        grants,
        used: &[0],
    };
    slices
        .iter()
        .map(|(request, grants)| slice((request, grants.as_slice())))
        .collect()
}

/// The baseline: every place of every rectangle of a step, each judged by counting, cell by cell, the rectangles
/// that could still be put.
fn scan(plan: &Plan, share: Millis, free: &Cells) -> Option<CellRect> {
    let step = plan.step(share, free)?;
    let room = |rest: &Cells| -> usize {
        [500, 250, 125, 100]
            .iter()
            .flat_map(|&share| plan.extents(Millis(share), Step::Above))
            .map(|&extent| {
                let cell = |column: u32, row: u32| rest.rows_of(column) >> row & 1 == 1;
                let inside = |column: u32, row: u32| {
                    (column..column + extent.columns)
                        .all(|c| (row..row + extent.rows).all(|r| r < 16 && cell(c, r)))
                };
                (0..16)
                    .flat_map(|column| (0..16).map(move |row| (column, row)))
                    .filter(|&(c, r)| inside(c, r))
                    .count()
            })
            .sum()
    };
    let places = plan
        .extents(share, step)
        .iter()
        .flat_map(|&extent| free.positions(extent));
    places.max_by_key(|rect| {
        let mut rest = *free;
        rest.remove(rect);
        room(&rest)
    })
}

fn rectangles(c: &mut Criterion) {
    for (name, grid) in [("mi300x", MI300X), ("largest", LARGEST)] {
        let plan = Plan::new(&grid, Shape::Auto);
        let mut free = Cells::all(&grid);
        free.remove(
            &plan
                .choose(Millis(250), &free)
                .unwrap_or_else(|| unreachable!("an empty grid has room")),
        );
        let mut group = c.benchmark_group(format!("rectangle of 100m on {name}"));
        group.bench_function("chosen", |b| {
            b.iter(|| plan.choose(Millis(100), black_box(&free)))
        });
        group.bench_function("baseline: naive scan", |b| {
            b.iter(|| scan(&plan, Millis(100), black_box(&free)))
        });
        group.bench_function("plan of the grid", |b| {
            b.iter(|| Plan::new(black_box(&grid), Shape::Auto))
        });
        group.finish();
    }
}

fn node(c: &mut Criterion) {
    let inventory = Inventory {
        gpus: (0..64).map(gpu).collect(),
        ..Inventory::default()
    };
    let slices = full_node(&inventory);
    let mut group = c.benchmark_group("64 GPUs, 575 slices");
    for (name, request) in [
        ("one more", request(100, 1)),
        ("refused", request(500, 1)),
        (
            "best effort on 8 GPUs",
            SliceRequest {
                share: best_effort(),
                ..request(100, 8)
            },
        ),
        (
            "best effort on 32 GPUs",
            SliceRequest {
                share: best_effort(),
                ..request(100, 32)
            },
        ),
    ] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || taken(&slices),
                |taken| place(black_box(&request), &inventory, &taken, &Rules::default()),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn best_effort() -> Share {
    let memory = MemoryRequest {
        guarantee: 1 << 30,
        limit: 1 << 30,
    };
    Share::Part {
        memory,
        compute: ComputeRequest::BestEffort,
    }
}

criterion_group!(benches, rectangles, node);
criterion_main!(benches);
