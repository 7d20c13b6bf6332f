//! Says which GPUs the agent sees, at its start and when that changes: in its log and to `sdg doctor`.

use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use sdg::agent_view::AgentView;
use sdg::host::Host;
use sdg::inventory::Detail;

use crate::parts::PartError;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(60);

/// Looks for ever.
pub fn run(host: &Host) -> Result<Infallible, PartError> {
    let mut last = None;
    loop {
        let seen = look(host);
        if last.as_ref() != Some(&seen) {
            tell(host, &seen);
            last = Some(seen);
        }
        thread::sleep(INTERVAL);
    }
}

/// What there is, or why that cannot be said.
fn look(host: &Host) -> Result<AgentView, String> {
    let inventory = host.inventory(Detail::Placement);
    inventory
        .map(|inventory| AgentView::of(&inventory))
        .map_err(|error| error.to_string())
}

fn tell(host: &Host, seen: &Result<AgentView, String>) {
    match seen.as_ref().map(|view| (view.gpus, view.fault(0))) {
        Err(error) => tracing::warn!("sees no AMD GPU: {error}"),
        Ok((_, Some(fault))) => tracing::warn!("{fault}"),
        Ok((gpus, None)) => tracing::info!(gpus, "sees all GPUs"),
    }
    let view = seen.as_ref().cloned().unwrap_or_default();
    if let Err(error) = view.write(&host.state) {
        tracing::warn!(%error, "could not write what sdg doctor shows of the agent");
    }
}
