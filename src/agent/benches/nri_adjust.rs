//! What a pod's start waits for, from the runtime's side: from the call being written until its answer is read. Beside
//! it the same way through the socket for a pod that asks for nothing.
//!
//! Run with `cargo bench -p sdg-agent --bench nri_adjust`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot set up its ground has failed"
)]

#[path = "../tests/support/runtime.rs"]
mod runtime;

use std::time::{Duration, Instant};

use runtime::{Runtime, container, pod};
use sdg_agent::nri::messages::Event;

const ROUNDS: usize = 300;
/// Pods on the node meanwhile: what eight full GPUs hold.
const PODS: usize = 64;

fn main() {
    let labels = [
        ("sdg.exostellar.io/memory", "4Gi"),
        ("sdg.exostellar.io/compute", "100m"),
    ];
    let mut runtime = Runtime::new("mi300x-8");
    runtime.configure();
    for number in 0..PODS {
        runtime
            .happened(Event::RunPodSandbox, &pod(&format!("busy-{number}"), &labels))
            .unwrap();
    }
    let (mut start, mut adjust, mut none) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (asks, asks_not) = (pod("asks", &labels), pod("asks-not", &[("app", "web")]));
        start.push(time(|| runtime.happened(Event::RunPodSandbox, &asks).unwrap()));
        adjust.push(time(|| {
            assert!(
                runtime
                    .create(&asks, &container(&asks, "main"))
                    .unwrap()
                    .is_some()
            )
        }));
        none.push(time(|| {
            assert!(
                runtime
                    .create(&asks_not, &container(&asks_not, "main"))
                    .unwrap()
                    .is_none()
            )
        }));
        runtime.happened(Event::StopPodSandbox, &asks).unwrap();
    }
    let baseline = median(none);
    println!("8 GPUs, {PODS} pods with slices; medians of {ROUNDS}:");
    println!("  a container of a pod that asks for nothing: {baseline:.1?}");
    for (what, times) in [
        ("a container of a pod with a slice", adjust),
        ("a pod that gets its slice", start),
    ] {
        let median = median(times);
        println!(
            "  {what}: {median:.1?}, ratio {:.1}",
            median.as_secs_f64() / baseline.as_secs_f64()
        );
    }
}

fn time(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
