//! Every file operation of a command fails once, and the command is killed before each: nothing is given twice, nothing
//! is half made, a reap finds what leaked, and an error is one line.
//!
//! ```text
//! a run under strace → its calls → for each call and fault: the same ground, a run with the fault, a look, a reap, a look
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/strace.rs"]
mod strace;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use sandbox::{Sandbox, stderr};
use sdg::edits::HookStage;
use sdg::host::{Host, Places};
use sdg::inventory::{Detail, Inventory};
use sdg::ledger::record::{Holder, ProcessIdentity};
use sdg::lifecycle::{self, NewSlice};
use sdg::request;
use serde_json::{Value, json};
use strace::{Call, Fault, file_calls, run_with_fault};

/// What an MI300X has less what the driver keeps by default.
const CAPACITY: u64 = 206_141_652_992 - (512 << 20);
const WORKERS: usize = 4;

/// A command that is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Precreate,
    Poststop,
    Create,
    Resize,
    Delete,
    Reap,
    Generate,
}

/// A node with slices, which can be had again as it was.
struct Ground {
    sandbox: Sandbox,
    operation: Operation,
    /// The slice whose container is gone.
    ended: String,
}

impl Ground {
    fn new(operation: Operation) -> Self {
        let sandbox = Sandbox::new("mi300x", &[]);
        sandbox.configure("claim_grace = 0\n");
        let create = |name: &str| {
            let create = ["slice", "create", "--memory=20Gi", "--memory-limit=100Gi"];
            let output = sandbox.run(&[&create[..], &["--compute=250m", "--name", name]].concat());
            assert!(output.status.success(), "{}", stderr(&output));
        };
        create("kept");
        create("gone");
        let ended = place_for_nobody(&sandbox);
        let ground = Self {
            sandbox,
            operation,
            ended,
        };
        image::fill(&ground.path("rootfs"));
        std::fs::write(ground.path("stdin"), ground.stdin()).unwrap();
        // What a killed reap and a killed placement left.
        std::fs::create_dir_all(ground.path("state/slices/.old-0123456789ab/view/0")).unwrap();
        std::fs::create_dir_all(ground.path("state/slices/.new-0123456789ac")).unwrap();
        ground.copy("state", "saved-state");
        ground.copy("root/etc/cdi", "saved-cdi");
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        let _ = std::fs::remove_dir_all(&to);
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    }

    fn reset(&self) {
        self.copy("saved-state", "state");
        self.copy("saved-cdi", "root/etc/cdi");
    }

    fn command(&self) -> Command {
        let arguments: &[&str] = match self.operation {
            Operation::Precreate => &["hook", "precreate"],
            Operation::Poststop => &["hook", "poststop", "--slice", &self.ended],
            Operation::Create => &["slice", "create", "--memory=10Gi", "--compute=100m", "--name=new"],
            Operation::Resize => &["slice", "resize", "kept", "--memory=30Gi", "--memory-limit=60Gi"],
            Operation::Delete => &["slice", "delete", "gone"],
            Operation::Reap => &["slice", "reap"],
            Operation::Generate => &["cdi", "generate"],
        };
        self.sandbox.sdg(arguments)
    }

    fn stdin(&self) -> String {
        match self.operation {
            Operation::Precreate => json!({
                "process": {"args": ["/bin/sh"]},
                "root": {"path": self.path("rootfs")},
                "annotations": {"sdg.memory": "50Gi", "sdg.compute": "250m"},
            })
            .to_string(),
            _ => json!({"id": "c", "pid": 0}).to_string(),
        }
    }

    fn calls(&self) -> Vec<Call> {
        let config = self.path("config.toml");
        let start = config.to_str().unwrap();
        let calls = file_calls(&self.command(), &self.path("stdin"), (&self.path("trace"), start));
        assert!(calls.len() > 30, "{calls:?}");
        calls
    }

    /// Runs with a fault; says what must not be.
    fn disturb(&self, call: &Call, fault: Fault) -> Result<Output, String> {
        self.reset();
        let output = run_with_fault(&self.command(), &self.path("stdin"), (call, fault));
        let said = stderr(&output);
        // A GPU that cannot be read is warned of in a line of its own.
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("sdg: warning: "))
            .collect();
        match fault {
            Fault::Kill if output.status.signal() == Some(9) => {}
            _ if output.status.success() => expect(lines.len() <= 1, &format!("more than a line: {said}"))?,
            _ => expect(
                output.status.code() == Some(1) && lines.len() == 1 && said.starts_with("sdg: "),
                &format!("no one line with exit code 1: {said}"),
            )?,
        }
        self.check_output(&output)?;
        self.nothing_is_given_twice()?;
        self.whole_files(&output, fault)?;
        let reaped = self.sandbox.run(&["slice", "reap"]);
        expect(reaped.status.success(), &stderr(&reaped))?;
        self.nothing_is_given_twice()?;
        self.only_slices_are_left()?;
        self.what_is_over_is_told_once(fault)?;
        Ok(output)
    }

    /// A kill loses nothing of the past and doubles nothing. What cannot be written down is lost: a stop is worth more.
    fn what_is_over_is_told_once(&self, fault: Fault) -> Result<(), String> {
        let output = self.sandbox.run(&["slice", "history", "--json"]);
        expect(output.status.success(), &stderr(&output))?;
        let history: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let told = history.iter().filter(|past| past["id"] == *self.ended).count();
        expect(
            told == 1 || (told == 0 && matches!(fault, Fault::Error(_))),
            &format!("the slice that is over is told of {told} times"),
        )
    }

    /// An engine gets a whole config or none: none with an error. A hook that was killed after it had printed has
    /// failed all the same.
    fn check_output(&self, output: &Output) -> Result<(), String> {
        if self.operation != Operation::Precreate {
            return Ok(());
        }
        let is_whole =
            serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|config| config["hooks"].is_object());
        match output.status.code() {
            Some(0) => expect(is_whole, "success without an edited config"),
            Some(_) => expect(output.stdout.is_empty(), "a config in spite of an error"),
            None => expect(is_whole || output.stdout.is_empty(), "a part of a config"),
        }
    }

    /// No unit and no byte belongs to two slices, and every slice that is listed has all its files.
    fn nothing_is_given_twice(&self) -> Result<(), String> {
        let mut taken = [0; 32];
        let mut bytes = 0;
        for slice in self.listing()? {
            let gpu = &slice["gpus"][0];
            for (taken, word) in taken.iter_mut().zip(gpu["cu_mask"].as_array().unwrap()) {
                let word = word.as_u64().unwrap() as u32;
                expect(*taken & word == 0, "a unit is given twice")?;
                *taken |= word;
            }
            let promised = ["memory_bytes", "memory_available_bytes"].map(|key| gpu[key].as_u64().unwrap());
            bytes += promised[0].max(promised[1]);
            let id = slice["id"].as_str().unwrap();
            for file in [
                "slice.json",
                "limits",
                "usage",
                "preload",
                "edits.json",
                "view/0/vram_total",
            ] {
                let path = self.path("state/slices").join(id).join(file);
                expect(path.exists(), &format!("{} is not there", path.display()))?;
            }
        }
        expect(bytes <= CAPACITY, &format!("{bytes} bytes given of {CAPACITY}"))
    }

    fn listing(&self) -> Result<Vec<Value>, String> {
        let output = self.sandbox.run(&["slice", "list", "--json"]);
        expect(output.status.success(), &stderr(&output))?;
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let slices = self.listing().unwrap();
        let name = |slice: &Value| slice["name"].as_str().unwrap_or("-").to_owned();
        slices.iter().map(name).collect()
    }

    fn only_slices_are_left(&self) -> Result<(), String> {
        let mut files = self.sandbox.ledger_files();
        let listing = self.listing()?;
        let mut ids: Vec<&str> = listing
            .iter()
            .map(|slice| slice["id"].as_str().unwrap())
            .collect();
        files.sort_unstable();
        ids.sort_unstable();
        expect(files == ids, &format!("{files:?} in the ledger, {ids:?} listed"))?;
        expect(!ids.contains(&self.ended.as_str()), "what is over was not reaped")
    }

    /// CDI files are whole; a command that was not killed leaves a file for each named slice and no other.
    fn whole_files(&self, output: &Output, fault: Fault) -> Result<(), String> {
        let mut devices = Vec::new();
        for entry in std::fs::read_dir(self.path("root/etc/cdi")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.ends_with(".json") {
                let text = std::fs::read(&path).unwrap();
                let spec: Value =
                    serde_json::from_slice(&text).map_err(|error| format!("{name}: {error}"))?;
                let device = spec["devices"][0]["name"].as_str().unwrap();
                devices.extend((spec["kind"] == "sdg.exostellar.io/slice").then(|| device.to_owned()));
            } else {
                expect(
                    matches!(fault, Fault::Kill),
                    &format!("{name} is left in /etc/cdi"),
                )?;
            }
        }
        devices.sort_unstable();
        let mut names = self.names();
        names.retain(|name| name != "-");
        names.sort_unstable();
        let deleted = self.operation == Operation::Delete && !output.status.success();
        expect(
            matches!(fault, Fault::Kill) || deleted || devices == names,
            &format!("files of {devices:?}, slices {names:?}"),
        )
    }

    /// What a run came to, beside what holds after any run.
    fn check_effect(&self, output: &Output, fault: Fault) -> Result<(), String> {
        let failed = !output.status.success() && !matches!(fault, Fault::Kill);
        let names = self.names();
        let is_there = |name: &str| names.iter().any(|there| there == name);
        expect(is_there("kept"), "a slice is lost")?;
        match self.operation {
            Operation::Create => expect(!(failed && is_there("new")), "refused, and made"),
            Operation::Resize => self.check_resized(output, fault),
            Operation::Poststop => expect(matches!(fault, Fault::Kill) || !failed, "a stop failed"),
            Operation::Delete => expect(
                !output.status.success() || !is_there("gone"),
                "deleted, and there",
            ),
            Operation::Precreate | Operation::Reap | Operation::Generate => Ok(()),
        }
    }

    /// Old or new, and what programs read says the same; after a kill perhaps the larger of each. An error may be that of
    /// the listing that follows. Doing it again does it.
    fn check_resized(&self, output: &Output, fault: Fault) -> Result<(), String> {
        let (old, new, between) = ((20, 100, 100), (30, 60, 60), (30, 100, 100));
        let found = self.kept_sizes()?;
        let fine = match fault {
            Fault::Kill => [old, new, between].map(|size| size.0).contains(&found.0),
            Fault::Error(_) => found == new || (found == old && !output.status.success()),
        };
        expect(fine, &format!("resized to {found:?}"))?;
        let again = self.command().output().unwrap();
        expect(again.status.success(), &stderr(&again))?;
        let found = self.kept_sizes()?;
        expect(found == new, &format!("resized to {found:?} by a second try"))
    }

    /// GiB of the slice that is resized: guarantee, limit, and what its programs read.
    fn kept_sizes(&self) -> Result<(u64, u64, u64), String> {
        let listing = self.listing()?;
        let kept = listing.iter().find(|slice| slice["name"] == "kept").unwrap();
        let gib = |key: &str| kept["gpus"][0][key].as_u64().unwrap() >> 30;
        let directory = self.path("state/slices").join(kept["id"].as_str().unwrap());
        let total = std::fs::read_to_string(directory.join("view/0/vram_total")).unwrap();
        let total: u64 = total.lines().next().unwrap().parse().unwrap();
        Ok((gib("memory_bytes"), gib("memory_limit_bytes"), total >> 30))
    }
}

/// A slice that a hook made for a container that is not there any more.
fn place_for_nobody(sandbox: &Sandbox) -> String {
    let host = Host::new(&Places {
        sysroot: Some(sandbox.path("root")),
        state: Some(sandbox.path("state")),
        config: Some(sandbox.path("config.toml")),
    })
    .unwrap();
    let inventory = Inventory::read(&host.sysroot, Detail::Placement).unwrap();
    let new = NewSlice {
        request: request::parse([("sdg.memory", "20Gi"), ("sdg.compute", "100m")])
            .unwrap()
            .unwrap(),
        holder: Holder::Container {
            container: "c".to_owned(),
            // No process has this start time.
            process: ProcessIdentity {
                pid: 1,
                start_time: u64::MAX,
            },
        },
        user: None,
        name: None,
        preload: b"",
        covered: true,
        hooks: HookStage::ALL,
    };
    lifecycle::place(&host, &inventory, &new).unwrap().record.id
}

fn expect(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// All faults of all calls, or those of one worker.
fn faults<'a>(calls: &'a [Call], worker: usize) -> impl Iterator<Item = (&'a Call, Fault)> {
    let of_call = |call: &'a Call| call.faults().into_iter().map(move |fault| (call, fault));
    calls.iter().flat_map(of_call).skip(worker).step_by(WORKERS)
}

/// Runs an operation with every fault; gives how many runs were ended by one.
fn disturb_everywhere(operation: Operation) {
    let work = |worker: usize| {
        let ground = Ground::new(operation);
        let (mut wrong, mut ended, mut all) = (Vec::new(), 0, 0);
        for (call, fault) in faults(&ground.calls(), worker) {
            let result = ground.disturb(call, fault).and_then(|output| {
                ended += usize::from(!output.status.success() || !output.stderr.is_empty());
                ground
                    .check_effect(&output, fault)
                    .map_err(|reason| format!("{reason}; it said {:?}", stderr(&output)))
            });
            all += 1;
            wrong.extend(
                result
                    .err()
                    .map(|reason| format!("{fault:?} at {}\n    {reason}", call.line)),
            );
        }
        (wrong, ended, all)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let wrong: Vec<&str> = results
        .iter()
        .flat_map(|(wrong, ..)| wrong)
        .map(String::as_str)
        .collect();
    let ended: usize = results.iter().map(|(_, ended, _)| ended).sum();
    let all: usize = results.iter().map(|(.., all)| all).sum();
    assert!(
        wrong.is_empty(),
        "{} of {all}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(2 * ended > all, "of {all} faults only {ended} were felt");
}

#[test]
fn a_disturbed_precreate_hook() {
    disturb_everywhere(Operation::Precreate);
}

#[test]
fn a_disturbed_poststop_hook() {
    disturb_everywhere(Operation::Poststop);
}

#[test]
fn a_disturbed_creation() {
    disturb_everywhere(Operation::Create);
}

#[test]
fn a_disturbed_resize() {
    disturb_everywhere(Operation::Resize);
}

#[test]
fn a_disturbed_deletion() {
    disturb_everywhere(Operation::Delete);
}

#[test]
fn a_disturbed_reap() {
    disturb_everywhere(Operation::Reap);
}

#[test]
fn a_disturbed_generation_of_cdi_files() {
    disturb_everywhere(Operation::Generate);
}
