//! Many hooks at once on an 8-GPU node, undisturbed and killed at any moment: nothing is given twice or lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::collections::HashMap;
use std::fs::File;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sandbox::{Sandbox, stderr};
use serde_json::{Value, json};

/// What an MI300X has less what the driver keeps by default.
const CAPACITY: u64 = 206_141_652_992 - (512 << 20);
const CALLERS: usize = 16;
const CONTAINERS: usize = 64;

fn node() -> Sandbox {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    image::fill(&sandbox.path("rootfs"));
    sandbox
}

fn config(sandbox: &Sandbox, memory: &str) -> String {
    json!({
        "root": {"path": sandbox.path("rootfs")},
        "process": {"args": ["/bin/true"]},
        "annotations": {"sdg.memory": memory, "sdg.compute": "125m"},
    })
    .to_string()
}

/// No unit and no byte of a GPU belongs to two slices.
fn check(slices: &[Value]) {
    let mut units: HashMap<&str, Vec<u32>> = HashMap::new();
    let mut bytes: HashMap<&str, u64> = HashMap::new();
    for slice in slices {
        for gpu in slice["gpus"].as_array().unwrap() {
            let uuid = gpu["uuid"].as_str().unwrap();
            let taken = units.entry(uuid).or_insert_with(|| vec![0; 32]);
            let mask = gpu["cu_mask"].as_array().unwrap();
            assert!(!mask.is_empty(), "every slice here has units of its own");
            for (taken, word) in taken.iter_mut().zip(mask) {
                let word = word.as_u64().unwrap() as u32;
                assert_eq!(*taken & word, 0, "a unit of {uuid} is given twice: {slices:#?}");
                *taken |= word;
            }
            *bytes.entry(uuid).or_default() += gpu["memory_bytes"].as_u64().unwrap();
        }
    }
    for (uuid, bytes) in bytes {
        assert!(bytes <= CAPACITY, "{uuid}: {bytes} bytes given of {CAPACITY}");
    }
}

/// Calls a closure for each container number from as many threads as there are callers.
fn at_once(call: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CONTAINERS {
                        break;
                    }
                    call(number);
                }
            });
        }
    });
}

#[test]
fn sixty_four_containers_of_sixteen_callers() {
    let sandbox = node();
    // Six of 30Gi fit a GPU of 191.5Gi: 48 of 64 fit the node.
    let config = config(&sandbox, "30Gi");
    let (placed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    at_once(|_| {
        let output = sandbox.run_with(&["hook", "precreate"], config.as_bytes());
        if output.status.success() {
            placed.fetch_add(1, Ordering::Relaxed);
        } else {
            assert!(stderr(&output).contains("sdg.memory"), "{}", stderr(&output));
            refused.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!((placed.into_inner(), refused.into_inner()), (48, 16));
    let slices = sandbox.slices();
    assert_eq!(slices.len(), 48);
    check(&slices);
    at_once(|number| {
        if let Some(slice) = slices.get(number) {
            let id = slice["id"].as_str().unwrap();
            let output = sandbox.run_with(&["hook", "poststop", "--slice", id], b"{\"id\": \"c\"}");
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{}",
                stderr(&output)
            );
        }
    });
    assert_eq!(sandbox.ledger_files(), [""; 0]);
}

#[test]
fn hooks_killed_at_random_moments() {
    let sandbox = node();
    std::fs::write(sandbox.path("config.json"), config(&sandbox, "20Gi")).unwrap();
    let killed = AtomicUsize::new(0);
    at_once(|number| {
        let mut hook = sandbox
            .sdg(&["hook", "precreate"])
            .stdin(File::open(sandbox.path("config.json")).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before main to long after the end, in uneven steps.
        let pause = Duration::from_micros((number * number * 37 % 40_000) as u64);
        std::thread::sleep(pause);
        hook.kill().unwrap();
        if !hook.wait().unwrap().success() {
            killed.fetch_add(1, Ordering::Relaxed);
        }
        check(&sandbox.slices());
    });
    assert!(
        killed.into_inner() > 0,
        "no hook was killed: the test shows nothing"
    );
    check(&sandbox.slices());
    // The ledger still works, and what nobody claimed goes with its time-out.
    let id = sandbox.json(&["slice", "create", "--memory", "1Gi", "--json"])["id"].clone();
    assert!(
        sandbox.ledger_files().iter().all(|name| !name.starts_with('.')),
        "a placement sweeps what was left"
    );
    sandbox.configure("claim_timeout = 0\n");
    let reaped = sandbox.run(&["slice", "reap"]);
    assert!(reaped.status.success(), "{}", stderr(&reaped));
    assert_eq!(sandbox.ledger_files(), [id.as_str().unwrap()]);
    let whole = sandbox.json(&["slice", "create", "--count", "7", "--json"]);
    assert_eq!(whole["gpus"].as_array().unwrap().len(), 7, "nothing is lost");
}
