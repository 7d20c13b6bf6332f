//! Masks against a second implementation of the kernel's mapping, made from the kernel's text and not from ours.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by a panic"
)]

use proptest::prelude::*;
use sdg::compute::grid::{CuGrid, CuRect, GridError, MAX_UNITS, TopologyFigures};
use sdg::compute::mapping::UnitAddress;
use sdg::compute::mask::CuMask;
use std::collections::{BTreeMap, BTreeSet};

/// A chip as the driver knows it: how many units each shader array of each XCC has left.
#[derive(Clone, Debug)]
struct Chip {
    wgp_mode: bool,
    /// `[xcc][engine][array]`
    units: Vec<Vec<Vec<u32>>>,
}

/// XCC, shader engine, shader array, unit.
type Unit = (usize, usize, usize, u32);

impl Chip {
    fn active(&self) -> u32 {
        self.units.iter().flatten().flatten().sum()
    }

    /// Which units a queue may use under a mask: `mqd_symmetrically_map_cu_mask()` of Linux, `kfd_mqd_manager.c`, run
    /// for every XCC. A register of a shader engine holds array 0 in the lower and array 1 in the upper half.
    fn enabled(&self, mask: &[u32]) -> BTreeSet<Unit> {
        let mut units = BTreeSet::new();
        for xcc in 0..self.units.len() {
            for (engine, register) in self.program(xcc, mask).into_iter().enumerate() {
                for bit in (0..32).filter(|bit| register >> bit & 1 == 1) {
                    units.insert((xcc, engine, bit / 16, (bit % 16) as u32));
                }
            }
        }
        units
    }

    fn program(&self, xcc: usize, mask: &[u32]) -> Vec<u32> {
        let engines = self.units[xcc].len();
        let arrays = self.units[xcc][0].len();
        let (enable, step) = if self.wgp_mode { (0b11u32, 2) } else { (0b1, 1) };
        let mask_bits = (mask.len() * 32).min(self.active() as usize);
        let mut registers = vec![0u32; engines];
        let mut bit = xcc;
        for unit in (0..16).step_by(step) {
            for array in 0..arrays {
                for engine in 0..engines {
                    if self.units[xcc][engine][array] as usize <= unit {
                        continue;
                    }
                    if mask[bit / 32] & (enable << (bit % 32)) != 0 {
                        registers[engine] |= enable << (unit + array * 16);
                    }
                    bit += step * self.units.len();
                    if bit >= mask_bits {
                        return registers;
                    }
                }
            }
        }
        registers
    }

    fn grid(&self, slots: u32) -> CuGrid {
        let (xccs, engines, arrays) = (
            self.units.len() as u32,
            self.units[0].len() as u32,
            self.units[0][0].len() as u32,
        );
        CuGrid::from_topology(&TopologyFigures {
            simd_count: self.active() * 4,
            simd_per_cu: 4,
            array_count: engines * arrays * xccs,
            simd_arrays_per_engine: arrays,
            cu_per_simd_array: slots,
            num_xcc: xccs,
            gfx_target_version: if self.wgp_mode { 110_000 } else { 90_402 },
        })
        .unwrap()
    }
}

/// What enabled units deliver by the model, counted from the units themselves.
fn delivered(units: &BTreeSet<Unit>, xccs: usize) -> u32 {
    let of_xcc = |xcc: usize| {
        let mut engines: BTreeMap<usize, u32> = BTreeMap::new();
        for unit in units.iter().filter(|unit| unit.0 == xcc) {
            *engines.entry(unit.1).or_default() += 1;
        }
        engines.len() as u32 * engines.values().min().copied().unwrap_or(0)
    };
    (0..xccs).map(of_xcc).min().unwrap_or(0) * xccs as u32
}

fn mi300x() -> Chip {
    Chip {
        wgp_mode: false,
        units: vec![vec![vec![10], vec![9], vec![10], vec![9]]; 8],
    }
}

/// A chip whose XCCs each lose units in arrays of their own, evenly; and the slots of an array.
fn chips() -> impl Strategy<Value = (Chip, u32)> {
    let geometry = (1usize..=8, 1usize..=8, 1usize..=2, any::<bool>());
    let chips = geometry.prop_flat_map(|(xccs, engines, arrays, paired)| {
        let xccs = if paired { 1 } else { xccs };
        let step: u32 = if paired { 2 } else { 1 };
        let columns = engines * arrays;
        let orders = proptest::collection::vec(Just((0..columns).collect::<Vec<_>>()).prop_shuffle(), xccs);
        (1..16 / step, 0..columns, orders).prop_map(move |(rows, longer, orders)| {
            let of_xcc = |order: Vec<usize>| {
                let rows_of = |column: usize| {
                    let is_longer = order[..longer].contains(&column);
                    (rows + u32::from(is_longer)) * step
                };
                (0..engines)
                    .map(|e| (0..arrays).map(|a| rows_of(a * engines + e)).collect())
                    .collect()
            };
            let units = orders.into_iter().map(of_xcc).collect();
            let slots = (rows + u32::from(longer > 0)) * step;
            (
                Chip {
                    wgp_mode: paired,
                    units,
                },
                slots,
            )
        })
    });
    chips.prop_filter("more units than a mask has room for", |(chip, _)| {
        chip.active() <= MAX_UNITS
    })
}

fn rect_of(grid: &CuGrid, (a, b, c, d): (u32, u32, u32, u32)) -> CuRect {
    let pair = grid.slots_per_row();
    let (engine, row) = (a % grid.columns(), c % grid.cell_rows());
    CuRect {
        engine,
        engines: 1 + b % (grid.columns() - engine),
        slot: row * pair,
        slots: (1 + d % (grid.cell_rows() - row)) * pair,
    }
}

proptest! {
    #[test]
    fn a_rectangle_enables_its_units_and_no_other(
        (chip, slots) in chips(), numbers in any::<(u32, u32, u32, u32)>(),
    ) {
        let grid = chip.grid(slots);
        let rect = rect_of(&grid, numbers);
        let mask = grid.rect_mask(&rect);
        let enabled = chip.enabled(mask.words());
        let mut expected = BTreeSet::new();
        for xcc in 0..grid.xccs as usize {
            for column in rect.engine..rect.engine + rect.engines {
                for slot in rect.slot..rect.slot + rect.slots {
                    let (engine, array) = (column % grid.engines, column / grid.engines);
                    expected.insert((xcc, engine as usize, array as usize, slot));
                }
            }
        }
        prop_assert_eq!(&enabled, &expected);
        prop_assert_eq!(enabled.len() as u32, grid.rect_units(&rect));
        prop_assert!(grid.covers_every_xcc(&mask));
        prop_assert_eq!(grid.effective_units(&mask), delivered(&enabled, grid.xccs as usize));
        prop_assert_eq!(grid.effective_rect_units(rect.engines, rect.slots), grid.effective_units(&mask));
    }

    #[test]
    fn a_mask_and_its_complement_share_the_chip((chip, slots) in chips(), numbers in any::<(u32, u32, u32, u32)>()) {
        let grid = chip.grid(slots);
        let full = chip.enabled(grid.full_mask().words());
        prop_assert_eq!(full.len() as u32, chip.active());
        prop_assert_eq!(grid.full_mask().count(), grid.active_units);
        let mask = grid.rect_mask(&rect_of(&grid, numbers));
        let complement = grid.complement(&mask);
        let (mine, others) = (chip.enabled(mask.words()), chip.enabled(complement.words()));
        prop_assert!(mine.is_disjoint(&others));
        prop_assert_eq!(mine.len() + others.len(), full.len());
        prop_assert_eq!(mask.union(&complement), grid.full_mask());
    }

    #[test]
    fn a_mask_in_order_delivers_what_its_units_do((chip, slots) in chips(), bits in any::<u32>()) {
        let grid = chip.grid(slots);
        // Only rows that every array has: above them the engine of a bit is not known to us.
        let bits = bits % (grid.deliverable_units() + 1);
        let mask = CuMask::lowest(bits);
        let enabled = chip.enabled(&[mask.words(), &[0]].concat());
        prop_assert_eq!(grid.effective_units(&mask), delivered(&enabled, grid.xccs as usize));
        let covered = (0..grid.xccs as usize).all(|xcc| enabled.iter().any(|unit| unit.0 == xcc));
        prop_assert_eq!(grid.covers_every_xcc(&mask), covered);
    }

    #[test]
    fn bits_and_units_are_one_to_one((chip, slots) in chips()) {
        let grid = chip.grid(slots);
        for bit in 0..grid.deliverable_units() {
            let unit = grid.unit_of_bit(bit);
            prop_assert!(unit.xcc < grid.xccs && unit.column < grid.columns() && unit.slot < grid.rows());
            prop_assert_eq!(grid.bit_of_unit(unit), bit);
        }
        let tail = grid.tail_mask();
        prop_assert_eq!(tail.count(), grid.active_units - grid.deliverable_units());
        prop_assert_eq!(grid.tail_covers_every_xcc(), grid.covers_every_xcc(&tail));
        prop_assert!(!tail.overlaps(&grid.rect_mask(&grid.full_rect())));
    }
}

#[test]
fn the_published_table_holds() {
    let chip = mi300x();
    let grid = chip.grid(10);
    let table = [
        (30, 24),
        (32, 32),
        (38, 32),
        (64, 64),
        (76, 64),
        (128, 128),
        (152, 128),
        (228, 224),
        (256, 256),
        (288, 288),
        (304, 288),
    ];
    for (bits, effective) in table {
        assert_eq!(
            grid.effective_units(&CuMask::lowest(bits)),
            effective,
            "{bits} bits in order"
        );
        let enabled = chip.enabled(CuMask::lowest(bits.next_multiple_of(32)).words());
        assert!(enabled.len() as u32 >= bits);
    }
    // Two whole engines of four deliver more than as many bits in order.
    let half = grid.rect_mask(&CuRect {
        engine: 2,
        engines: 2,
        slot: 0,
        slots: 9,
    });
    assert_eq!((half.count(), grid.effective_units(&half)), (144, 144));
    assert_eq!(
        grid.effective_units(&CuMask::lowest(7)),
        0,
        "an XCC without a unit is not restricted"
    );
}

#[test]
fn known_gpus() {
    let figures = |simds, per_cu, arrays, of_engine, slots, xccs, gfx| TopologyFigures {
        simd_count: simds,
        simd_per_cu: per_cu,
        array_count: arrays,
        simd_arrays_per_engine: of_engine,
        cu_per_simd_array: slots,
        num_xcc: xccs,
        gfx_target_version: gfx,
    };
    // Columns, rows, deliverable, units a cell, active.
    let cases = [
        (
            "MI300X SPX",
            figures(1216, 4, 32, 1, 10, 8, 90_402),
            [4, 9, 288, 8, 304],
        ),
        (
            "MI300X DPX",
            figures(608, 4, 16, 1, 10, 4, 90_402),
            [4, 9, 144, 4, 152],
        ),
        (
            "MI300X CPX",
            figures(152, 4, 4, 1, 10, 1, 90_402),
            [4, 9, 36, 1, 38],
        ),
        (
            "MI308 CPX",
            figures(80, 4, 4, 1, 10, 1, 90_402),
            [4, 5, 20, 1, 20],
        ),
        (
            "MI210",
            figures(416, 4, 8, 1, 16, 1, 90_010),
            [8, 13, 104, 1, 104],
        ),
        (
            "RX 7900 XTX",
            figures(192, 2, 12, 2, 8, 1, 110_000),
            [12, 8, 96, 2, 96],
        ),
        (
            "RX 7900 XT",
            figures(168, 2, 12, 2, 8, 1, 110_000),
            [12, 6, 72, 2, 84],
        ),
    ];
    for (name, figures, expected) in cases {
        let grid = CuGrid::from_topology(&figures).unwrap();
        let seen = [
            grid.columns(),
            grid.rows(),
            grid.deliverable_units(),
            grid.units_per_cell(),
            grid.active_units,
        ];
        assert_eq!(seen, expected, "{name}");
        assert_eq!(
            grid.full_mask().bits(),
            grid.active_units.next_multiple_of(32),
            "{name}"
        );
    }
}

#[test]
fn figures_that_make_no_grid() {
    let good = TopologyFigures {
        simd_count: 1216,
        simd_per_cu: 4,
        array_count: 32,
        simd_arrays_per_engine: 1,
        cu_per_simd_array: 10,
        num_xcc: 8,
        gfx_target_version: 90_402,
    };
    let error = |change: fn(&mut TopologyFigures)| {
        let mut figures = good;
        change(&mut figures);
        CuGrid::from_topology(&figures).expect_err("no grid")
    };
    assert_eq!(error(|f| f.simd_per_cu = 0), GridError::Zero("simd_per_cu"));
    assert_eq!(error(|f| f.num_xcc = 0), GridError::Zero("num_xcc"));
    assert_eq!(
        error(|f| f.cu_per_simd_array = 0),
        GridError::Zero("cu_per_simd_array")
    );
    assert_eq!(
        error(|f| f.array_count = 33).to_string(),
        "array_count 33 in the topology is no multiple of num_xcc 8"
    );
    assert_eq!(
        error(|f| f.array_count = 8 * 17).to_string(),
        "17 shader arrays in an XCC (a CU mask reaches 16 here)"
    );
    assert!(matches!(
        error(|f| f.cu_per_simd_array = 17),
        GridError::TooMany { most: 16, .. }
    ));
    assert!(matches!(
        error(|f| f.simd_count = 4000),
        GridError::TooMany {
            count: 1000,
            most: 320,
            ..
        }
    ));
    assert_eq!(
        error(|f| f.gfx_target_version = 120_500),
        GridError::PairsOnSeveralXccs { xccs: 8 }
    );
    assert!(matches!(
        error(|f| (f.array_count, f.num_xcc) = (4000, 1000)),
        GridError::TooMany { most: 304, .. }
    ));
    let huge = TopologyFigures {
        array_count: u32::MAX,
        num_xcc: 1,
        simd_arrays_per_engine: u32::MAX,
        ..good
    };
    assert!(CuGrid::from_topology(&huge).is_err());
}

#[test]
fn the_bits_of_an_mi300x() {
    let grid = mi300x().grid(10);
    assert_eq!(
        grid.unit_of_bit(0),
        UnitAddress {
            xcc: 0,
            column: 0,
            slot: 0
        }
    );
    assert_eq!(
        grid.unit_of_bit(13),
        UnitAddress {
            xcc: 5,
            column: 1,
            slot: 0
        }
    );
    assert_eq!(
        grid.unit_of_bit(32),
        UnitAddress {
            xcc: 0,
            column: 0,
            slot: 1
        }
    );
    let row = grid.rect_mask(&CuRect {
        engine: 0,
        engines: 4,
        slot: 1,
        slots: 1,
    });
    assert_eq!(
        row.words()[..3],
        [0, u32::MAX, 0],
        "a word is a CU slot of every engine of every XCC"
    );
    let column = grid.rect_mask(&CuRect {
        engine: 2,
        engines: 1,
        slot: 0,
        slots: 9,
    });
    assert_eq!(column.words(), [[0x00ff_0000; 9].as_slice(), &[0]].concat());
}
