//! How many slices fit a GPU, and in which order: the promises, and a comparison with an exhaustive search.

use sdg::compute::cells::{CellRect, Cells};
use sdg::compute::fit::{Plan, Step};
use sdg::compute::grid::CuGrid;
use sdg::compute::shape::Shape;
use sdg::request::Millis;
use std::collections::HashMap;

fn cdna(xccs: u32, engines: u32, slots: u32, active_units: u32) -> CuGrid {
    CuGrid {
        xccs,
        engines,
        arrays: 1,
        slots,
        active_units,
        paired: false,
    }
}

fn mi300x() -> CuGrid {
    cdna(8, 4, 10, 304)
}

fn mi300x_cpx() -> CuGrid {
    cdna(1, 4, 10, 38)
}

fn mi210() -> CuGrid {
    cdna(1, 8, 16, 104)
}

fn rx7900xtx() -> CuGrid {
    CuGrid {
        xccs: 1,
        engines: 6,
        arrays: 2,
        slots: 8,
        active_units: 96,
        paired: true,
    }
}

/// Places shares one after the other; the units each got, or none where one does not fit. No unit is given twice.
fn fill(grid: &CuGrid, shape: Shape, shares: &[u32]) -> Vec<Option<u32>> {
    let plan = Plan::new(grid, shape);
    let mut free = Cells::all(grid);
    let mut given = Vec::new();
    for &share in shares {
        let rect = plan.choose(Millis(share), &free);
        if let Some(rect) = &rect {
            let before = free.count();
            free.remove(rect);
            assert_eq!(
                before - free.count(),
                rect.extent.columns * rect.extent.rows,
                "a cell was given twice"
            );
        }
        given.push(rect.map(|rect| grid.rect_units(&rect.to_units(grid))));
    }
    given
}

fn fits_all(grid: &CuGrid, shares: &[u32]) -> bool {
    fill(grid, Shape::Auto, shares).iter().all(Option::is_some)
}

#[test]
fn the_promised_counts_fit_one_mi300x() {
    let units = |shares: &[u32]| fill(&mi300x(), Shape::Auto, shares);
    assert_eq!(units(&[500; 2]), [Some(144); 2]);
    assert_eq!(units(&[250; 4]), [Some(72); 4]);
    assert_eq!(units(&[125; 8]), [[Some(40); 4], [Some(32); 4]].concat());
    assert_eq!(units(&[100; 9]), [Some(32); 9]);
    assert_eq!(units(&[100; 10])[9], None, "36 cells are nine times four");
}

#[test]
fn mixed_shares_fit_in_these_orders() {
    for shares in [
        &[500, 250, 125, 125][..],
        &[250, 500, 250],
        &[125, 250, 500, 125],
        &[100, 250, 250, 250],
        &[100, 100, 100, 100, 500],
        &[500, 100, 100, 100, 100],
        &[100, 500, 250, 100],
        &[750, 250],
        &[250, 750],
        &[300, 300, 300],
        &[333, 333, 333],
    ] {
        for grid in [mi300x(), mi300x_cpx()] {
            assert!(fits_all(&grid, shares), "{shares:?} on {grid:?}");
        }
    }
}

#[test]
fn the_same_counts_fit_other_gpus() {
    for grid in [mi300x_cpx(), mi210(), rx7900xtx()] {
        for (share, count) in [(500, 2), (250, 4), (125, 8), (100, 9)] {
            assert!(
                fits_all(&grid, &vec![share; count]),
                "{count} × {share}m on {grid:?}"
            );
        }
    }
}

#[test]
fn coarse_policies_keep_to_their_shapes() {
    let grid = mi300x();
    assert_eq!(fill(&grid, Shape::Engines, &[250; 4]), [Some(72); 4]);
    assert_eq!(
        fill(&grid, Shape::Engines, &[100; 5]),
        [[Some(72); 4].as_slice(), &[None]].concat()
    );
    assert_eq!(fill(&grid, Shape::Rows, &[100; 9]), [Some(32); 9]);
    // Two rows of 32 are the step above 36, one row is the step below.
    assert_eq!(
        fill(&grid, Shape::Rows, &[125; 6]),
        [[Some(64); 4].as_slice(), &[Some(32), None]].concat()
    );
    for shape in [Shape::Rows, Shape::Engines] {
        let plan = Plan::new(&grid, shape);
        for share in 1..=1000 {
            for step in [Step::Above, Step::Below] {
                for extent in plan.extents(Millis(share), step) {
                    match shape {
                        Shape::Rows => assert_eq!(extent.columns, 4),
                        _ => assert_eq!(extent.rows, 9),
                    }
                }
            }
        }
    }
}

#[test]
fn steps_are_the_nearest_that_exist() {
    for grid in [mi300x(), mi300x_cpx(), mi210(), rx7900xtx(), cdna(1, 3, 5, 17)] {
        let plan = Plan::new(&grid, Shape::Auto);
        let all: Vec<u32> = (1..=grid.columns())
            .flat_map(|columns| (1..=grid.cell_rows()).map(move |rows| (columns, rows)))
            .map(|(columns, rows)| grid.effective_rect_units(columns, rows * grid.slots_per_row()))
            .collect();
        for share in 1..=1000u32 {
            let aim = u64::from(share) * u64::from(grid.deliverable_units());
            let above = all
                .iter()
                .copied()
                .filter(|&units| u64::from(units) * 1000 >= aim)
                .min();
            let below = all
                .iter()
                .copied()
                .filter(|&units| u64::from(units) * 1000 <= aim)
                .max();
            for (step, expected) in [(Step::Above, above), (Step::Below, below)] {
                let extents = plan.extents(Millis(share), step);
                let units = extents.iter().map(|e| e.columns * e.rows * grid.units_per_cell());
                assert_eq!(units.clone().min(), expected, "{share}m {step:?} on {grid:?}");
                assert_eq!(units.max(), expected);
            }
        }
    }
}

/// What the exhaustive search may choose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freedom {
    /// Shapes and places; a request is served in order, by the step above where that is free, as by the rule.
    Places,
    /// Also which requests are served, and by which of their steps: what the rule itself costs.
    Everything,
}

/// The most requests that can be served, every choice tried. Written for clarity; remembers what it has seen.
struct Exhaustive<'a> {
    plan: &'a Plan,
    freedom: Freedom,
    shares: &'a [u32],
    seen: HashMap<(usize, Vec<u16>), usize>,
}

impl Exhaustive<'_> {
    fn most(&mut self, next: usize, free: &Cells) -> usize {
        let Some(&share) = self.shares.get(next) else {
            return 0;
        };
        let key = (
            next,
            (0..16).map(|column| free.rows_of(column)).collect::<Vec<_>>(),
        );
        if let Some(&known) = self.seen.get(&key) {
            return known;
        }
        let [above, below] = [Step::Above, Step::Below].map(|step| self.places(share, step, free));
        let places = match self.freedom {
            Freedom::Places if !above.is_empty() => above,
            Freedom::Places => below,
            Freedom::Everything => [above, below].concat(),
        };
        let may_skip = self.freedom == Freedom::Everything || places.is_empty();
        let mut best = if may_skip { self.most(next + 1, free) } else { 0 };
        for rect in places {
            if best == self.shares.len() - next {
                break;
            }
            let mut rest = *free;
            rest.remove(&rect);
            best = best.max(1 + self.most(next + 1, &rest));
        }
        self.seen.insert(key, best);
        best
    }

    fn places(&self, share: u32, step: Step, free: &Cells) -> Vec<CellRect> {
        let extents = self.plan.extents(Millis(share), step).iter();
        extents.flat_map(|&extent| free.positions(extent)).collect()
    }
}

/// Every multiset of the shares with a sum of at most 1000m, largest first.
fn multisets(shares: &[u32], budget: u32) -> Vec<Vec<u32>> {
    let Some((&first, others)) = shares.split_first() else {
        return vec![vec![]];
    };
    let mut all = multisets(others, budget);
    if first <= budget {
        for mut rest in multisets(shares, budget - first) {
            rest.insert(0, first);
            all.push(rest);
        }
    }
    all
}

/// How many requests are served over all multisets of some shares up to a whole GPU, each in both
/// orders of size; by us and by the exhaustive search; and the most that one multiset loses.
#[derive(Debug, Default)]
struct Comparison {
    ours: usize,
    most: usize,
    worst: usize,
}

fn compare(grid: &CuGrid, sizes: &[u32], freedom: Freedom) -> Comparison {
    let plan = Plan::new(grid, Shape::Auto);
    let mut comparison = Comparison::default();
    for largest_first in multisets(sizes, 1000) {
        let smallest_first: Vec<u32> = largest_first.iter().rev().copied().collect();
        for shares in [&largest_first, &smallest_first] {
            let mut search = Exhaustive {
                plan: &plan,
                freedom,
                shares,
                seen: HashMap::new(),
            };
            let most = search.most(0, &Cells::all(grid));
            let ours = fill(grid, Shape::Auto, shares).iter().flatten().count();
            comparison.ours += ours;
            comparison.most += most;
            comparison.worst = comparison.worst.max(most.saturating_sub(ours));
        }
    }
    comparison
}

/// Placing costs at most 4 % of the slices that any other choice of shapes and places could serve under the same rule,
/// the rule itself (the step above wherever it is free) at most another 10 %: both on grids so small that a cell is
/// up to a sixth of the GPU. Where cells are finer the loss shrinks: 2 % in all on 4 × 4.
#[test]
fn nearly_as_many_fit_as_an_exhaustive_search_finds() {
    for (engines, slots) in [(2, 3), (3, 2), (2, 4), (3, 3), (4, 3), (3, 4), (4, 4)] {
        let grid = cdna(1, engines, slots, engines * slots);
        let places = compare(&grid, &[500, 250, 125, 100], Freedom::Places);
        assert!(
            places.ours <= places.most,
            "the search is not exhaustive: {places:?} on {engines} × {slots}"
        );
        assert!(
            places.ours * 100 >= places.most * 96,
            "{places:?} on {engines} × {slots}"
        );
        assert!(places.worst <= 2, "{places:?} on {engines} × {slots}");
        let everything = compare(&grid, &[500, 250, 125, 100], Freedom::Everything);
        let percent = if (engines, slots) == (4, 4) { 98 } else { 86 };
        assert!(
            everything.ours * 100 >= everything.most * percent,
            "{everything:?} on {engines} × {slots}"
        );
        assert!(
            everything.most >= places.most,
            "{everything:?} on {engines} × {slots}"
        );
    }
}

/// The same on a grid as large as an MI300X's: there the loss is below 2 %. (With 100m among the shares it is 1.5 %;
/// that search takes too long for a test.)
#[test]
fn on_an_mi300x_nearly_nothing_is_lost_by_placing() {
    let places = compare(&mi300x_cpx(), &[500, 250, 125], Freedom::Places);
    assert!(
        places.ours <= places.most,
        "the search is not exhaustive: {places:?}"
    );
    assert!(
        places.ours * 100 >= places.most * 98 && places.worst <= 1,
        "{places:?}"
    );
}
