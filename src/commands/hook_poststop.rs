//! `sdg hook poststop`: releases a slice. It never fails a stop: what it cannot do, the next reap does.

use crate::commands::{brokered, complain, read_state};
use crate::host::Host;
use crate::ledger::record::Holder;

/// Releases a slice that the container on stdin holds, or that none has claimed. Without a state that can be read, the
/// slice that our own argument names is the container's; without an argument, all that the container holds goes.
pub fn run(host: &Host, slice: Option<&str>) {
    let state = read_state().ok();
    let container = state.as_ref().map(|state| state.id.as_str());
    match (slice, container) {
        (Some(slice), container) => release(host, slice, container),
        (None, Some(container)) => release_all(host, container),
        (None, None) => {
            complain("the container's state on stdin cannot be read: its slice is left to the next reap")
        }
    }
}

fn release_all(host: &Host, container: &str) {
    match host.ledger().records() {
        Ok(records) => {
            for record in records {
                if matches!(&record.holder, Holder::Container { container: holder, .. } if holder == container)
                {
                    release(host, &record.id, Some(container));
                }
            }
        }
        Err(error) => complain(&format!(
            "container {container}'s slice is left to the next reap: {error}"
        )),
    }
}

fn release(host: &Host, slice: &str, container: Option<&str>) {
    if let Err(error) = brokered::release(host, slice, container) {
        complain(&format!("slice {slice} is left to the next reap: {error}"));
    }
}
