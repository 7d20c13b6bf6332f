//! Metrics of what hooks counted and of what the agent itself did.

use std::fmt;

use sdg::counters::{BOUNDS, Counters, Hook, Reason};

use super::encode::{Family, Histogram, Writer};
use crate::events;

/// Writes them.
pub fn write(counters: &Counters, writer: &mut Writer<'_>) -> fmt::Result {
    // The page is mapped already: words of it can always be read.
    let failed = |_| fmt::Error;
    let placements = counters.placements().map_err(failed)?;
    writer.counter(Family("placements", "Slices placed"), placements)?;
    let refusals = Reason::ALL
        .map(|reason| {
            let labels = vec![("reason", reason.name().to_owned())];
            Ok((labels, counters.refusals(reason).map_err(failed)?))
        })
        .into_iter()
        .collect::<Result<Vec<_>, fmt::Error>>()?;
    writer.counters(
        Family("refusals", "Slices and containers refused, by reason"),
        refusals,
    )?;
    let times = Hook::ALL
        .map(|hook| Ok((vec![("hook", hook.name().to_owned())], times(counters, hook)?)))
        .into_iter()
        .collect::<Result<Vec<_>, fmt::Error>>()?;
    writer.histograms(
        Family(
            "hook_duration_seconds",
            "Time that a hook or the runtime wrapper took, from its start to its answer",
        ),
        times,
    )?;
    let result = |result: &str| vec![("result", result.to_owned())];
    writer.counters(
        Family("guarded_calls", "Calls of guarded slices that the agent answered"),
        [
            (result("allowed"), events::CALLS_ALLOWED.get()),
            (result("refused"), events::CALLS_REFUSED.get()),
        ],
    )?;
    writer.counter(
        Family(
            "watchdog_offences",
            "Processes found with more than their slice, or with unmasked queues",
        ),
        events::OFFENCES.get(),
    )?;
    writer.counter(
        Family(
            "watchdog_kills",
            "Processes killed for having more than their slice",
        ),
        events::KILLS.get(),
    )
}

fn times(counters: &Counters, hook: Hook) -> Result<Histogram, fmt::Error> {
    let times = counters.times(hook).map_err(|_| fmt::Error)?;
    let bounds = BOUNDS
        .iter()
        .map(|bound| bound.as_secs_f64())
        .chain([f64::INFINITY]);
    Ok(Histogram {
        buckets: bounds.zip(times.buckets).collect(),
        sum: times.sum.as_secs_f64(),
    })
}
