//! What the panes of the overview show: a row for each GPU and each slice. Pure.

use super::bar::SliceMemory;
use super::letters::Letters;
use super::strip::{Mark, UnitMap};
use crate::inventory::Gpu;
use crate::ledger::record::{self, Holder};
use crate::snapshot::sums::{MemorySums, UnitSums};
use crate::snapshot::{SliceNow, Snapshot};

/// What vendors put before the model in a GPU's name.
const NAME_PREFIXES: [&str; 3] = ["AMD Instinct ", "AMD Radeon ", "AMD "];

/// A GPU of the overview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuRow {
    /// Index in the inventory.
    pub index: u32,
    /// Model, without the vendor.
    pub name: String,
    /// `SPX/NPS1`; empty where the card has no partitions.
    pub mode: String,
    /// Memory.
    pub memory: MemorySums,
    /// Compute units.
    pub units: UnitSums,
    /// A row of slots for each column of an XCC.
    pub strip: Vec<Vec<Mark>>,
}

impl GpuRow {
    fn new(snapshot: &Snapshot, gpu: &Gpu, letters: &Letters) -> Self {
        let modes: Vec<&str> = [&gpu.compute_partition, &gpu.memory_partition]
            .into_iter()
            .filter_map(|mode| mode.as_deref())
            .collect();
        Self {
            index: gpu.index,
            name: short_name(&gpu.name).to_owned(),
            mode: modes.join("/"),
            memory: snapshot.memory_of(gpu),
            units: snapshot.units_of(gpu),
            strip: UnitMap::new(snapshot, gpu, letters).merged_columns(),
        }
    }
}

fn short_name(name: &str) -> &str {
    let short = NAME_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    short.unwrap_or(name)
}

/// A slice of the overview; sums over its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceRow {
    /// Id.
    pub id: String,
    /// By which the strips show it.
    pub letter: char,
    /// Its name, else its container or pod, else its id.
    pub owner: String,
    /// `running` …
    pub state: &'static str,
    /// Indices of its GPUs.
    pub gpus: Vec<u32>,
    /// Memory.
    pub memory: SliceMemory,
    /// Units that its queues run on.
    pub units: u32,
    /// Ceiling in units.
    pub units_limit: u32,
    /// Compute queues that have the slice's mask.
    pub queues: u64,
    /// Layers that hold.
    pub enforcement: Vec<String>,
    /// Allocations refused.
    pub refused: u64,
    /// Seconds since the Unix epoch.
    pub created: u64,
}

impl SliceRow {
    fn new(slice: &SliceNow, snapshot: &Snapshot, letters: &Letters) -> Self {
        let record = &slice.record;
        let mut row = Self {
            id: record.id.clone(),
            letter: letters.of(&record.id),
            owner: owner(slice),
            state: slice.state.name(),
            gpus: Vec::new(),
            memory: SliceMemory::default(),
            units: 0,
            units_limit: 0,
            queues: slice.live.usage.masked_queues,
            enforcement: record.enforcement.clone(),
            refused: slice.live.usage.refused,
            created: record.created,
        };
        for part in slice.parts() {
            let gpu = snapshot
                .inventory
                .gpus
                .iter()
                .find(|gpu| gpu.uuid == part.grant.uuid);
            row.gpus.push(part.grant.index);
            row.memory.used += part.used;
            row.memory.guaranteed += part.grant.memory_bytes;
            row.memory.limit += part.grant.memory_limit_bytes;
            row.units += gpu.map_or(0, |gpu| part.units(&gpu.grid).count());
            row.units_limit += part.grant.compute_limit_units;
        }
        row
    }

    /// Thousandths of the limit that are in use.
    pub fn fullness(&self) -> u64 {
        let thousandths = u128::from(self.memory.used) * 1000 / u128::from(self.memory.limit.max(1));
        u64::try_from(thousandths).unwrap_or(u64::MAX)
    }
}

/// Whose a slice is.
pub fn owner(slice: &SliceNow) -> String {
    let short = |container: &String| record::short_name(container).to_owned();
    let user = match &slice.record.holder {
        Holder::Container { container, .. } => Some(short(container)),
        Holder::Placed { container, .. } => container.as_ref().map(short),
        Holder::Pod { pod, .. } => Some(pod.clone()),
        Holder::Named => None,
    };
    let name = slice.record.name.clone();
    name.or(user).unwrap_or_else(|| slice.record.id.clone())
}

/// What slices are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Oldest first.
    #[default]
    Age,
    /// Owner, by the alphabet.
    Owner,
    /// First GPU.
    Gpu,
    /// Most memory in use first.
    Used,
    /// The fullest first.
    Full,
    /// Most compute units first.
    Units,
    /// Most refused allocations first.
    Refused,
}

impl Sort {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Age, "age"),
        (Self::Owner, "owner"),
        (Self::Gpu, "GPU"),
        (Self::Used, "used"),
        (Self::Full, "full"),
        (Self::Units, "units"),
        (Self::Refused, "refused"),
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        let own = Self::ALL.iter().find(|(sort, _)| *sort == self);
        own.map_or("", |(_, name)| name)
    }

    /// The one after it, in a circle.
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or(0);
        let next = Self::ALL.get(at + 1).or(Self::ALL.first());
        next.map_or(self, |(sort, _)| *sort)
    }

    /// Sorts rows. Rows that are alike stay in order of age.
    pub fn apply(self, rows: &mut [SliceRow], reversed: bool) {
        let descending = |of: fn(&SliceRow) -> u64| move |row: &SliceRow| std::cmp::Reverse(of(row));
        match self {
            Self::Age => {}
            Self::Owner => rows.sort_by(|a, b| a.owner.cmp(&b.owner)),
            Self::Gpu => rows.sort_by(|a, b| a.gpus.cmp(&b.gpus)),
            Self::Used => rows.sort_by_key(descending(|row| row.memory.used)),
            Self::Full => rows.sort_by_key(descending(SliceRow::fullness)),
            Self::Units => rows.sort_by_key(descending(|row| row.units.into())),
            Self::Refused => rows.sort_by_key(descending(|row| row.refused)),
        }
        if reversed {
            rows.reverse();
        }
    }
}

/// All rows of an overview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// GPUs by index.
    pub gpus: Vec<GpuRow>,
    /// Slices, oldest first.
    pub slices: Vec<SliceRow>,
}

impl Rows {
    /// From what was read.
    pub fn new(snapshot: &Snapshot, letters: &Letters) -> Self {
        let gpu = |gpu| GpuRow::new(snapshot, gpu, letters);
        let slice = |slice| SliceRow::new(slice, snapshot, letters);
        Self {
            gpus: snapshot.inventory.gpus.iter().map(gpu).collect(),
            slices: snapshot.slices.iter().map(slice).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures::{GI, add_slice, empty_node};

    fn rows() -> Rows {
        let mut node = empty_node(2);
        add_slice(&mut node, ("zoe", "memory=20Gi compute=250m gpu=1"), 10 * GI);
        add_slice(
            &mut node,
            ("ann", "memory=10Gi memoryLimit=40Gi count=2"),
            15 * GI,
        );
        let mut letters = Letters::default();
        letters.update(&node);
        Rows::new(&node, &letters)
    }

    #[test]
    fn a_slice_sums_its_gpus() {
        let rows = rows();
        let row = &rows.slices[1];
        assert_eq!(
            (row.letter, row.owner.as_str(), &row.gpus[..]),
            ('B', "ann", &[0, 1][..])
        );
        assert_eq!(row.memory.used, 30 * GI);
        assert_eq!(row.memory.limit, 80 * GI);
        assert_eq!(row.units, 304 + 304 - 72);
        assert_eq!(rows.gpus[1].name, "MI300X");
        assert_eq!(rows.gpus[1].mode, "SPX/NPS1");
    }

    #[test]
    fn sorting_goes_round_and_back() {
        let order = |sort: Sort, reversed| {
            let mut slices = rows().slices;
            sort.apply(&mut slices, reversed);
            slices.iter().map(|row| row.letter).collect::<String>()
        };
        let sorted: Vec<String> = Sort::ALL.iter().map(|(sort, _)| order(*sort, false)).collect();
        // Age, owner, GPU, used, full (both are; half and three eighths), units, refused (none).
        assert_eq!(sorted, ["AB", "BA", "BA", "BA", "AB", "BA", "AB"]);
        assert_eq!(order(Sort::Age, true), "BA");
        let mut sort = Sort::Age;
        for _ in 0..Sort::ALL.len() {
            sort = sort.next();
        }
        assert_eq!(sort, Sort::Age);
    }
}
