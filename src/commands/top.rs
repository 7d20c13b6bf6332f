//! `sdg top`.

use std::time::Duration;

use crate::cli::{Output, ResizeOptions};
use crate::commands::{CommandError, slice_list, slice_resize};
use crate::host::Host;
use crate::inventory::Detail;
use crate::snapshot::Snapshot;
use crate::top::resize::Wish;
use crate::top::terminal::{self, Node};

/// Shows the node until the person quits.
pub fn run(host: &Host, seconds: u64) -> Result<(), CommandError> {
    let mut node = HostNode { host };
    Ok(terminal::run(&mut node, Duration::from_secs(seconds))?)
}

struct HostNode<'a> {
    host: &'a Host,
}

impl Node for HostNode<'_> {
    fn look(&mut self) -> Result<Snapshot, String> {
        slice_list::look(self.host, Detail::Full).map_err(|error| error.to_string())
    }

    fn resize(&mut self, wish: &Wish) -> Result<String, String> {
        let options = ResizeOptions {
            slice: wish.slice.clone(),
            memory: wish.memory.clone(),
            memory_limit: wish.memory_limit.clone(),
            compute: wish.compute.clone(),
            compute_limit: wish.compute_limit.clone(),
            wait: false,
            output: Output { json: false },
        };
        let changed = slice_resize::change(self.host, &options).map_err(|error| error.to_string())?;
        let unanswered = changed.after.unanswered.iter();
        let warnings: String = unanswered.map(|slice| format!("; {slice}")).collect();
        Ok(changed.text().trim_end().replace('\n', "; ") + &warnings)
    }
}
