//! Which slices are over. Pure but for the question whether a process lives.
//!
//! ```text
//! records, now, patience → ids to remove
//! ```

use crate::ledger::record::{Holder, ProcessIdentity, SliceRecord};

/// How long a slice that nobody claimed is kept, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After its maker is gone, counted from its making, where the container's id is not known or a process knows it: the
    /// runtime that will claim it may outlive the engine.
    pub grace: u64,
    /// In any case: a daemon that failed to start a container lives on.
    pub timeout: u64,
}

/// What is asked of the machine about a slice's processes.
pub struct Processes<A, C> {
    /// Whether this very process still runs.
    pub is_alive: A,
    /// Whether somebody may still claim a slice for the container of this id.
    pub may_come: C,
}

/// Whether a slice is over, as far as its record says: one that containers share lasts as long as one of them runs.
pub fn is_over(
    record: &SliceRecord,
    now: u64,
    patience: Patience,
    Processes { is_alive, may_come }: &Processes<impl Fn(&ProcessIdentity) -> bool, impl Fn(&str) -> bool>,
) -> bool {
    match &record.holder {
        Holder::Named => false,
        Holder::Container { process, .. } => !is_alive(process),
        Holder::Pod { process, .. } => process.as_ref().is_some_and(|process| !is_alive(process)),
        Holder::Placed { maker, container } => {
            // A clock that was set back must not keep a slice for ever.
            let age = now.abs_diff(record.created);
            let nobody_comes = || container.as_deref().is_some_and(|container| !may_come(container));
            age >= patience.timeout
                || (!maker.as_ref().is_some_and(is_alive) && (age >= patience.grace || nobody_comes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record::RECORD_VERSION;
    use crate::request::{Enforcement, PlacementPolicy, Share, SliceRequest};

    const PATIENCE: Patience = Patience {
        grace: 10,
        timeout: 100,
    };
    const PROCESS: ProcessIdentity = ProcessIdentity {
        pid: 1,
        start_time: 1,
    };

    fn over(holder: Holder, age: u64, alive: bool) -> bool {
        let nobody = Processes {
            is_alive: |_: &ProcessIdentity| alive,
            may_come: |_: &str| false,
        };
        over_beside(holder, age, &nobody)
    }

    fn over_beside(
        holder: Holder,
        age: u64,
        processes: &Processes<impl Fn(&ProcessIdentity) -> bool, impl Fn(&str) -> bool>,
    ) -> bool {
        let record = SliceRecord {
            version: RECORD_VERSION,
            id: "0123456789ab".to_owned(),
            name: None,
            created: 1000,
            request: SliceRequest {
                share: Share::Whole,
                count: 1,
                gpu: None,
                group: None,
                placement: PlacementPolicy::Pack,
                enforcement: Enforcement::Cooperative,
            },
            holder,
            user: None,
            enforcement: Vec::new(),
            gpus: Vec::new(),
        };
        is_over(&record, 1000 + age, PATIENCE, processes)
    }

    #[test]
    fn unclaimed_slices_last_as_long_as_their_maker_and_no_longer_than_the_timeout() {
        let placed = || Holder::Placed {
            maker: Some(PROCESS),
            container: None,
        };
        assert!(!over(placed(), 99, true));
        assert!(over(placed(), 100, true));
        assert!(!over(placed(), 9, false));
        assert!(over(placed(), 10, false));
        assert!(over(
            Holder::Placed {
                maker: None,
                container: None
            },
            10,
            true
        ));
    }

    #[test]
    fn an_unclaimed_slice_whose_maker_is_gone_ends_at_once_where_nobody_knows_its_container() {
        let placed = || Holder::Placed {
            maker: Some(PROCESS),
            container: Some("c".to_owned()),
        };
        assert!(over(placed(), 0, false));
        assert!(!over(placed(), 50, true));
        let monitor = Processes {
            is_alive: |_: &ProcessIdentity| false,
            may_come: |container: &str| container == "c",
        };
        assert!(!over_beside(placed(), 9, &monitor));
        assert!(over_beside(placed(), 10, &monitor));
    }

    #[test]
    fn claimed_slices_last_as_long_as_their_process() {
        let claimed = || Holder::Container {
            container: "c".to_owned(),
            process: PROCESS,
        };
        assert!(!over(claimed(), 1_000_000, true));
        assert!(over(claimed(), 0, false));
    }

    #[test]
    fn slices_of_pods_last_as_long_as_the_sandbox_where_it_has_a_process() {
        let of = |process| Holder::Pod {
            sandbox: "s".to_owned(),
            pod: "default/llama".to_owned(),
            process,
        };
        assert!(!over(of(Some(PROCESS)), 1_000_000, true));
        assert!(over(of(Some(PROCESS)), 0, false));
        assert!(!over(of(None), 1_000_000, false));
    }

    #[test]
    fn named_slices_stay() {
        assert!(!over(Holder::Named, 1_000_000, false));
    }
}
