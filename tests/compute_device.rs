//! What the simulated device makes of our masks: `sdg_sim::cu_map` is written from the kernel's mapping by other hands.

use sdg::compute::cells::Cells;
use sdg::compute::fit::Plan;
use sdg::compute::grid::CuGrid;
use sdg::compute::shape::Shape;
use sdg::request::Millis;
use sdg_sim::cu_map::{self, Geometry};

fn grids() -> Vec<(&'static str, CuGrid)> {
    let grid = |xccs, engines, arrays, slots, active_units, paired| CuGrid {
        xccs,
        engines,
        arrays,
        slots,
        active_units,
        paired,
    };
    vec![
        ("MI300X in SPX", grid(8, 4, 1, 10, 304, false)),
        ("MI300X in QPX", grid(2, 4, 1, 10, 76, false)),
        ("MI300X in CPX", grid(1, 4, 1, 10, 38, false)),
        ("MI210", grid(1, 8, 1, 16, 104, false)),
        ("RX 7900 XTX", grid(1, 6, 2, 8, 96, true)),
    ]
}

fn device(grid: &CuGrid) -> Geometry {
    Geometry::even(
        grid.xccs,
        (grid.engines, grid.arrays),
        grid.active_units / grid.xccs,
        grid.paired,
    )
}

#[test]
fn a_rectangle_reaches_on_the_device_just_what_the_record_says() {
    for (name, grid) in grids() {
        let plan = Plan::new(&grid, Shape::Auto);
        for share in (10..=1000).step_by(10) {
            let Some(rect) = plan.choose(Millis(share), &Cells::all(&grid)) else {
                continue;
            };
            let rect = rect.to_units(&grid);
            let reach = cu_map::map(&device(&grid), grid.rect_mask(&rect).words());
            let context = format!("{name}, {share}m: {rect:?}");
            assert_eq!(reach.units(), grid.rect_units(&rect), "{context}");
            assert_eq!(reach.effective_units(), grid.rect_units(&rect), "{context}");
            assert!(reach.uncovered().is_empty(), "{context}");
        }
    }
}

#[test]
fn slices_beside_one_another_reach_no_unit_twice() {
    for (name, grid) in grids() {
        for share in [100, 125, 250, 500] {
            let plan = Plan::new(&grid, Shape::Auto);
            let (mut free, mut taken) = (Cells::all(&grid), Vec::new());
            while let Some(rect) = plan.choose(Millis(share), &free) {
                free.remove(&rect);
                let reach = cu_map::map(&device(&grid), grid.rect_mask(&rect.to_units(&grid)).words());
                for (xcc, engines) in reach.0.iter().enumerate() {
                    for (engine, units) in engines.iter().enumerate() {
                        taken.extend(units.iter().map(|unit| (xcc, engine, *unit)));
                    }
                }
            }
            let count = taken.len();
            assert!(count > 0, "{name}: no slice of {share}m");
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), count, "{name}: slices of {share}m share units");
        }
    }
}
