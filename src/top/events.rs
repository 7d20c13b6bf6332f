//! What happened between two looks at a node. Pure.

use std::collections::{HashMap, VecDeque};

use super::rows::owner;
use crate::snapshot::{SliceNow, SliceState, Snapshot};
use crate::units::Bytes;

/// Events that are kept.
const MOST: usize = 200;

/// Something that happened to a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Seconds since the Unix epoch.
    pub time: u64,
    /// The slice.
    pub slice: String,
    /// Whose it is.
    pub owner: String,
    /// What.
    pub text: String,
}

/// Events, newest first.
#[derive(Clone, Debug, Default)]
pub struct Events {
    kept: VecDeque<Event>,
}

impl Events {
    /// Adds what differs between two looks; `now` in seconds since the Unix epoch.
    pub fn note(&mut self, (before, after): (&Snapshot, &Snapshot), now: u64) {
        for (slice, text) in changes(before, after) {
            self.kept.push_front(Event {
                time: now,
                slice: slice.record.id.clone(),
                owner: owner(slice),
                text,
            });
        }
        self.kept.truncate(MOST);
    }

    /// All, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.kept.iter()
    }
}

fn by_id(snapshot: &Snapshot) -> HashMap<&str, &SliceNow> {
    let slices = snapshot.slices.iter();
    slices.map(|slice| (slice.record.id.as_str(), slice)).collect()
}

fn changes<'a>(before: &'a Snapshot, after: &'a Snapshot) -> Vec<(&'a SliceNow, String)> {
    let (old, new) = (by_id(before), by_id(after));
    let gone = before.slices.iter();
    let gone = gone.filter(|slice| !new.contains_key(slice.record.id.as_str()));
    let mut changes: Vec<_> = gone.map(|slice| (slice, "gone".to_owned())).collect();
    for slice in &after.slices {
        match old.get(slice.record.id.as_str()) {
            None => changes.push((slice, placed(slice))),
            Some(old) => changes.extend(differences(old, slice).into_iter().map(|text| (slice, text))),
        }
    }
    changes
}

fn placed(slice: &SliceNow) -> String {
    let grants = slice.record.gpus.iter();
    let gpus: Vec<String> = grants.map(|grant| grant.index.to_string()).collect();
    let memory = slice.record.gpus.first().map_or(0, |grant| grant.memory_bytes);
    format!("placed on GPU {} with {}", gpus.join(","), Bytes(memory))
}

fn differences(old: &SliceNow, new: &SliceNow) -> Vec<String> {
    let mut texts = Vec::new();
    if old.state != new.state {
        texts.push(match new.state {
            SliceState::Running => "its container runs".to_owned(),
            SliceState::Ended => "its container has ended".to_owned(),
            state => format!("is {}", state.name()),
        });
    }
    let refused = new.live.usage.refused.saturating_sub(old.live.usage.refused);
    if refused > 0 {
        texts.push(format!("{refused} allocation(s) refused"));
    }
    for (old, new) in old.parts().zip(new.parts()) {
        let gpu = new.grant.index;
        let amounts =
            |part: &crate::snapshot::sums::Part<'_>| (part.grant.memory_bytes, part.grant.memory_limit_bytes);
        if amounts(&old) != amounts(&new) {
            let (guarantee, limit) = amounts(&new);
            texts.push(format!(
                "GPU {gpu}: resized to {}, at most {}",
                Bytes(guarantee),
                Bytes(limit)
            ));
        } else if old.available() != new.available() {
            let (was, is) = (Bytes(old.available()), Bytes(new.available()));
            texts.push(format!("GPU {gpu}: may have {is} now (was {was})"));
        }
        let masks = (old.in_force, new.in_force);
        if let (Some(old), Some(new)) = masks
            && old.mask != new.mask
        {
            let (was, is) = (old.mask.count(), new.mask.count());
            texts.push(format!("GPU {gpu}: runs on {is} units now (was {was})"));
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixtures::{add_slice, empty_node};

    fn texts(before: &Snapshot, after: &Snapshot) -> Vec<String> {
        let mut events = Events::default();
        events.note((before, after), 0);
        let line = |event: &Event| format!("{}: {}", event.owner, event.text);
        events.iter().map(line).collect()
    }

    #[test]
    fn coming_lending_and_going_are_told_newest_first() {
        let mut before = empty_node(1);
        add_slice(&mut before, ("a", "memory=10Gi memoryLimit=191Gi"), 0);
        let mut after = before.clone();
        add_slice(&mut after, ("b", "memory=100Gi compute=250m"), 0);
        assert_eq!(
            texts(&before, &after),
            [
                "b: placed on GPU 0 with 100Gi",
                "a: GPU 0: runs on 232 units now (was 304)",
                "a: GPU 0: may have 91.48Gi now (was 191Gi)",
            ]
        );
        after.slices.remove(0);
        assert_eq!(texts(&before, &after).last().unwrap(), "a: gone");
        assert!(texts(&before, &before).is_empty());
    }

    #[test]
    fn refusals_states_and_resizes_are_told() {
        let mut before = empty_node(1);
        add_slice(&mut before, ("a", "memory=10Gi compute=250m"), 0);
        let mut after = before.clone();
        let slice = &mut after.slices[0];
        slice.state = SliceState::Ended;
        slice.live.usage.refused = 3;
        slice.record.gpus[0].memory_limit_bytes = 20 << 30;
        assert_eq!(
            texts(&before, &after),
            [
                "a: GPU 0: resized to 10Gi, at most 20Gi",
                "a: 3 allocation(s) refused",
                "a: its container has ended"
            ]
        );
    }
}
