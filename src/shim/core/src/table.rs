//! What this process has allocated: buffer → which GPU, how many bytes.

use crate::array::Array;

/// Names a buffer: a handle means something only together with the open device that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which open device; 0 for the process's own KFD context.
    pub space: u64,
    /// The handle that the kernel gave.
    pub handle: u64,
}

/// What a buffer is charged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Index of the GPU in the limits page.
    pub gpu: usize,
    /// Bytes.
    pub bytes: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    bytes: u64,
    gpu: u32,
    taken: bool,
}

const FREE: Entry = Entry {
    key: Key { space: 0, handle: 0 },
    bytes: 0,
    gpu: 0,
    taken: false,
};

/// A hash table with open addressing, linear probing and no tombstones; all zero is an empty one.
#[derive(Default)]
pub struct Table {
    entries: Array<Entry>,
    count: usize,
    promised: usize,
}

impl Table {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            entries: Array::new(),
            count: 0,
            promised: 0,
        }
    }

    /// Number of buffers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no buffer.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keeps room for one [`Table::insert`], before the kernel is asked for the buffer; `false` where there is no
    /// memory for it.
    pub fn promise(&mut self) -> bool {
        let needed = self.count.saturating_add(self.promised).saturating_add(1);
        let size = self.entries.as_slice().len();
        // At most three quarters full: probes stay short, and always end.
        if needed.saturating_mul(4) > size.saturating_mul(3) && !self.grow(size) {
            return false;
        }
        self.promised += 1;
        true
    }

    /// Gives promised room back.
    pub fn withdraw(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    /// Adds a buffer, for which room was promised. A buffer that was there under the same key is returned: the kernel
    /// gives no handle twice, so it was gone.
    pub fn insert(&mut self, key: Key, charge: Charge) -> Option<Charge> {
        self.withdraw();
        let entry = Entry {
            key,
            bytes: charge.bytes,
            gpu: charge.gpu as u32,
            taken: true,
        };
        let place = self.find(key);
        let slot = self.entries.as_mut_slice().get_mut(place)?;
        let before = core::mem::replace(slot, entry);
        if before.taken {
            return Some(before.charge());
        }
        self.count += 1;
        None
    }

    /// What a buffer is charged with.
    pub fn get(&self, key: Key) -> Option<Charge> {
        let entry = self.entries.as_slice().get(self.find(key))?;
        entry.taken.then(|| entry.charge())
    }

    /// Takes a buffer out. Its room stays promised: whoever finds that the kernel did not free it puts it back with
    /// [`Table::insert`], else calls [`Table::withdraw`].
    pub fn take(&mut self, key: Key) -> Option<Charge> {
        let charge = self.get(key)?;
        self.vacate(self.find(key));
        self.promised += 1;
        Some(charge)
    }

    /// Takes out every buffer whose open device is gone, and says what each was charged with.
    pub fn retain_spaces(&mut self, mut is_alive: impl FnMut(u64) -> bool, mut gone: impl FnMut(Charge)) {
        let mut place = 0;
        while let Some(entry) = self.entries.as_slice().get(place).copied() {
            if entry.taken && !is_alive(entry.key.space) {
                gone(entry.charge());
                // Another entry may have moved to this place: look at it again.
                self.vacate(place);
            } else {
                place += 1;
            }
        }
    }

    /// Whether a handle is there under any open device.
    pub fn has_handle(&self, handle: u64) -> bool {
        self.entries
            .as_slice()
            .iter()
            .any(|entry| entry.taken && entry.key.handle == handle)
    }

    fn grow(&mut self, size: usize) -> bool {
        let mut larger = Array::new();
        if !larger.fill_to(size.saturating_mul(2).max(64), FREE) {
            return false;
        }
        let old = core::mem::replace(&mut self.entries, larger);
        for entry in old.as_slice().iter().filter(|entry| entry.taken) {
            let place = self.find(entry.key);
            if let Some(slot) = self.entries.as_mut_slice().get_mut(place) {
                *slot = *entry;
            }
        }
        true
    }

    /// Where a key is, or the free place where it would be; beyond the table where that is empty.
    fn find(&self, key: Key) -> usize {
        let entries = self.entries.as_slice();
        let mut place = self.home(key);
        while let Some(entry) = entries.get(place) {
            if !entry.taken || entry.key == key {
                return place;
            }
            place = self.next(place);
        }
        usize::MAX
    }

    /// Frees a place and moves back the entries after it that had been kept from it.
    fn vacate(&mut self, freed: usize) {
        let mut hole = freed;
        let mut place = self.next(hole);
        while let Some(entry) = self
            .entries
            .as_slice()
            .get(place)
            .copied()
            .filter(|entry| entry.taken)
        {
            // An entry may move to the hole if its home does not lie between the hole (exclusive) and its place.
            let mask = self.entries.as_slice().len().wrapping_sub(1);
            let from_home = place.wrapping_sub(self.home(entry.key)) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.put(hole, entry);
                hole = place;
            }
            place = self.next(place);
        }
        self.put(hole, FREE);
        self.count = self.count.saturating_sub(1);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        if let Some(slot) = self.entries.as_mut_slice().get_mut(place) {
            *slot = entry;
        }
    }

    fn home(&self, key: Key) -> usize {
        let mixed = (key.handle ^ key.space.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & self.entries.as_slice().len().wrapping_sub(1)
    }

    fn next(&self, place: usize) -> usize {
        place.wrapping_add(1) & self.entries.as_slice().len().wrapping_sub(1)
    }
}

impl Entry {
    fn charge(&self) -> Charge {
        Charge {
            gpu: self.gpu as usize,
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Key, u64),
        Take(Key),
        PutBack(Key),
        CloseSpace(u64),
    }

    fn key() -> impl Strategy<Value = Key> {
        (
            0..3u64,
            prop_oneof![0..40u64, (0..40u64).prop_map(|n| (0xdead << 32) + n)],
        )
            .prop_map(|(space, handle)| Key { space, handle })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (key(), 1..100u64).prop_map(|(key, bytes)| Step::Insert(key, bytes)),
            4 => key().prop_map(Step::Take),
            1 => key().prop_map(Step::PutBack),
            1 => (0..3u64).prop_map(Step::CloseSpace),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec(step(), 1..400)) {
            let mut table = Table::new();
            let mut model = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert(key, bytes) => {
                        let charge = Charge { gpu: 1, bytes };
                        prop_assert!(table.promise());
                        prop_assert_eq!(table.insert(key, charge), model.insert((key.space, key.handle), charge));
                    }
                    Step::Take(key) => {
                        let taken = table.take(key);
                        if taken.is_some() {
                            table.withdraw();
                        }
                        prop_assert_eq!(taken, model.remove(&(key.space, key.handle)));
                    }
                    Step::PutBack(key) => {
                        if let Some(charge) = table.take(key) {
                            prop_assert_eq!(table.insert(key, charge), None);
                        }
                    }
                    Step::CloseSpace(space) => {
                        let mut gone = 0;
                        table.retain_spaces(|other| other != space, |charge| gone += charge.bytes);
                        let expected: u64 = model.iter().filter(|(key, _)| key.0 == space).map(|(_, c)| c.bytes).sum();
                        prop_assert_eq!(gone, expected);
                        model.retain(|key, _| key.0 != space);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.promised, 0);
                for (&(space, handle), charge) in &model {
                    prop_assert_eq!(table.get(Key { space, handle }), Some(*charge));
                }
            }
        }
    }

    #[test]
    fn promised_room_is_there_without_growing() {
        let mut table = Table::new();
        for _ in 0..1000 {
            assert!(table.promise());
        }
        let size = table.entries.as_slice().len();
        for handle in 0..1000 {
            assert_eq!(
                table.insert(Key { space: 0, handle }, Charge { gpu: 0, bytes: 1 }),
                None
            );
        }
        assert_eq!(table.entries.as_slice().len(), size);
        assert_eq!(table.len(), 1000);
    }
}
