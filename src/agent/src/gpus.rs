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
        match host.inventory(Detail::Placement) {
            Ok(inventory) => {
                let view = AgentView::of(&inventory);
                if last.as_ref() != Some(&view) {
                    tell(host, &view);
                    last = Some(view);
                }
            }
            Err(error) => tracing::warn!(%error, "sees no AMD GPU"),
        }
        thread::sleep(INTERVAL);
    }
}

fn tell(host: &Host, view: &AgentView) {
    match view.fault(0) {
        Some(fault) => tracing::warn!("{fault}"),
        None => tracing::info!(gpus = view.gpus, "sees all GPUs"),
    }
    if let Err(error) = view.write(&host.state) {
        tracing::warn!(%error, "sdg doctor is not told");
    }
}
