//! A letter for each slice, by which the strips can be read without colours.

use std::collections::{HashMap, HashSet};

use crate::ledger::record::SliceRecord;
use crate::snapshot::Snapshot;

const LETTERS: u8 = 26;

/// Letters that were given: a slice keeps its letter as long as it is there.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    given: HashMap<String, u8>,
}

impl Letters {
    /// Gives letters to the slices that are new and takes back those of the slices that are gone. Letters differ as long as
    /// there are no more than 26 slices; beyond that, as long as there are no more than 26 on a GPU.
    pub fn update(&mut self, snapshot: &Snapshot) {
        let present: HashSet<&str> = snapshot
            .slices
            .iter()
            .map(|slice| slice.record.id.as_str())
            .collect();
        self.given.retain(|id, _| present.contains(id.as_str()));
        for slice in &snapshot.slices {
            if !self.given.contains_key(&slice.record.id) {
                let letter = self.choose(&slice.record, snapshot);
                self.given.insert(slice.record.id.clone(), letter);
            }
        }
    }

    /// A slice's letter, A … Z; `?` for one that has none.
    pub fn of(&self, id: &str) -> char {
        self.given
            .get(id)
            .map_or('?', |number| char::from(b'A' + number % LETTERS))
    }

    fn choose(&self, record: &SliceRecord, snapshot: &Snapshot) -> u8 {
        let everywhere: HashSet<u8> = self.given.values().copied().collect();
        let beside = snapshot
            .slices
            .iter()
            .filter(|other| shares_gpu(&other.record, record));
        let beside: HashSet<u8> = beside
            .filter_map(|other| self.given.get(&other.record.id).copied())
            .collect();
        let free = |taken: &HashSet<u8>| (0..LETTERS).find(|letter| !taken.contains(letter));
        free(&everywhere).or_else(|| free(&beside)).unwrap_or(0)
    }
}

fn shares_gpu(one: &SliceRecord, other: &SliceRecord) -> bool {
    let mut grants = one.gpus.iter();
    grants.any(|grant| other.gpus.iter().any(|theirs| theirs.uuid == grant.uuid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures::{add_slice, empty_node, node_with};

    #[test]
    fn a_slice_keeps_its_letter_and_a_freed_one_is_given_again() {
        let mut node = node_with(&[(1, 1, 0), (1, 1, 0), (1, 1, 0)]);
        let mut letters = Letters::default();
        letters.update(&node);
        let ids: Vec<String> = node.slices.iter().map(|slice| slice.record.id.clone()).collect();
        let of = |letters: &Letters| ids.iter().map(|id| letters.of(id)).collect::<String>();
        assert_eq!(of(&letters), "ABC");
        let first = node.slices.remove(0);
        letters.update(&node);
        assert_eq!(of(&letters), "?BC");
        node.slices.push(first);
        letters.update(&node);
        assert_eq!(of(&letters), "ABC");
    }

    #[test]
    fn beyond_26_slices_letters_differ_on_a_gpu() {
        let mut node = empty_node(2);
        for number in 0..30 {
            let words = format!("memory=1Gi gpu={}", number % 2);
            add_slice(&mut node, ("s", &words), 0);
        }
        let mut letters = Letters::default();
        letters.update(&node);
        for gpu in &node.inventory.gpus {
            let parts = node.parts_of(gpu);
            let own: HashSet<char> = parts
                .iter()
                .map(|part| letters.of(&part.slice.record.id))
                .collect();
            assert_eq!(own.len(), 15);
        }
    }
}
