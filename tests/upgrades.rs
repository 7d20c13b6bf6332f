//! State that another version wrote. What 0.1.0 left is understood, held to, changed and released; what is not
//! understood is refused by name, in one line, and stays: so that nothing is given twice and nothing goes without a word.
//!
//! `fixtures/state-0.1.0` is what 0.1.0 wrote. A change that breaks reading it raises a version (docs/file-formats.md) and
//! gets a directory of its own: this one stays as it is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::fcntl::{FcntlArg, fcntl};
use sandbox::{Sandbox, complaint, stderr};
use sdg::ledger::record::ProcessIdentity;
use serde_json::{Value, json};

const GI: u64 = 1 << 30;
/// Of fixtures/state-0.1.0: a person's slice that may burst, one of a container, a whole GPU.
const NAMED: &str = "39d62c3accc0";
const CONTAINERS: &str = "f7d420b6f9e2";
const WHOLE: &str = "b23ce8008b16";
const CONTAINER: &str = "43b58f96cb9f136cea3e8dce37f2dcb0e2e756d5533a76ab1704dfa015d17c70";
/// Lengths of the pages of layout version 1. The fixtures leave out the zeros at their end.
const PAGES: [(&str, u64); 2] = [("limits", 12_352), ("usage", 294_976)];
/// Where both pages of layout version 1 have their version.
const VERSION_AT: u64 = 8;
/// Offset of the usage page's first lock byte in layout version 1.
const LOCKS_AT: i64 = 1 << 40;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.as_ref().unwrap().file_name()),
        );
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

/// A node of eight GPUs with the state of 0.1.0, in which the container that ran then is this process.
fn left_by_0_1_0() -> Sandbox {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-0.1.0"),
        &sandbox.path("state"),
    );
    for id in sandbox.ledger_files() {
        for (page, length) in PAGES {
            let page = File::options().write(true).open(slice(&sandbox, &id).join(page));
            page.unwrap().set_len(length).unwrap();
        }
    }
    let me = ProcessIdentity::of(std::process::id() as i32).unwrap().unwrap();
    edit(&record_of(&sandbox, CONTAINERS), |record| {
        record["holder"]["process"] = json!(me);
    });
    sandbox
}

fn slice(sandbox: &Sandbox, id: &str) -> PathBuf {
    sandbox.path("state/slices").join(id)
}

fn record_of(sandbox: &Sandbox, id: &str) -> PathBuf {
    slice(sandbox, id).join("slice.json")
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A process of a slice, as its shim shows it: it holds a slot of the usage page.
fn process_in(sandbox: &Sandbox, id: &str, slot: i64) -> File {
    let page = slice(sandbox, id).join("usage");
    let page = File::options().read(true).write(true).open(page).unwrap();
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: LOCKS_AT + slot,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(page.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    page
}

/// No unit is in two masks on a GPU, and no GPU's memory is guaranteed twice.
fn assert_nothing_is_given_twice(sandbox: &Sandbox) {
    let slices = sandbox.slices();
    let gpus = || slices.iter().flat_map(|slice| slice["gpus"].as_array().unwrap());
    for gpu in gpus() {
        let on_it = || gpus().filter(|other| other["uuid"] == gpu["uuid"]);
        let memory: u64 = on_it().map(|other| other["memory_bytes"].as_u64().unwrap()).sum();
        assert!(memory <= 206_141_652_992, "{slices:?}");
        for word in 0..10 {
            let words = on_it().map(|other| other["cu_mask"][word].as_u64().unwrap_or(0));
            let (sum, union) = words.fold((0, 0), |(sum, union), bits| (sum + bits, union | bits));
            assert_eq!(sum, union, "{slices:?}");
        }
    }
}

#[test]
fn what_0_1_0_left_is_listed_as_it_was() {
    let sandbox = left_by_0_1_0();
    let _process = process_in(&sandbox, CONTAINERS, 0);
    let expected: Value = serde_json::from_str(include_str!("fixtures/state-0.1.0.json")).unwrap();
    let mut found = sandbox.json(&["slice", "list", "--json"]);
    for slice in found.as_array_mut().unwrap() {
        // It is this process's now.
        slice.as_object_mut().unwrap().remove("pid");
        assert_eq!(
            &sandbox.json(&["slice", "show", slice["id"].as_str().unwrap(), "--json"])["gpus"],
            &slice["gpus"]
        );
    }
    assert_eq!(found, expected);
    let history = sandbox.json(&["slice", "history", "--json"]);
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    assert_eq!(history[0]["program"], "hip-queues");
    assert_eq!(history[0]["gpus"][0]["memory_bytes"], 4 * GI);
}

#[test]
fn slices_of_0_1_0_are_held_to_changed_and_released() {
    let sandbox = left_by_0_1_0();
    // GPU 0 has what the two leave; GPU 1 is given whole.
    let pinned = ["--memory=1Gi", "--compute=250m"];
    let beside = sandbox.json(&[&["slice", "create", "--gpu=0", "--json"][..], &pinned].concat());
    assert_eq!(beside["gpus"][0]["compute_units"], 72);
    assert_nothing_is_given_twice(&sandbox);
    let said = complaint(&sandbox.run(&[&["slice", "create", "--gpu=1"][..], &pinned].concat()));
    assert!(said.contains("taken whole (GPU 1: "), "{said}");

    // Files of engines are made of the edits that it wrote.
    let written = succeeded(&sandbox.run(&["cdi", "refresh"]));
    assert!(written.contains("sdg-slice-llama.json"), "{written}");

    let told = || std::fs::read_to_string(slice(&sandbox, NAMED).join("edits.json")).unwrap();
    assert!(
        told().contains("ROC_GLOBAL_CU_MASK"),
        "as that version told a program"
    );
    succeeded(&sandbox.run(&["slice", "resize", "llama", "--memory=30Gi", "--compute=125m"]));
    assert!(
        !told().contains("ROC_GLOBAL_CU_MASK"),
        "the shim tells of those that it has now"
    );
    succeeded(&sandbox.run(&["slice", "resize", CONTAINERS, "--memory=12Gi"]));
    assert_nothing_is_given_twice(&sandbox);
    assert_eq!(
        succeeded(&sandbox.run(&["slice", "reap"])),
        "",
        "all are somebody's"
    );
    let said = complaint(&sandbox.run(&["slice", "delete", CONTAINERS]));
    assert!(said.contains("is used by container"), "{said}");
    let state = json!({"id": CONTAINER, "bundle": "/nonexistent"}).to_string();
    let stopped = sandbox.run_with(&["hook", "poststop", "--slice", CONTAINERS], state.as_bytes());
    assert_eq!(
        (succeeded(&stopped), stderr(&stopped)),
        (String::new(), String::new())
    );
    succeeded(&sandbox.run(&["slice", "delete", "llama", WHOLE, beside["id"].as_str().unwrap()]));
    assert_eq!(sandbox.ledger_files(), [""; 0]);
    let ended = sandbox.json(&["slice", "history", CONTAINER, "--json"]);
    assert_eq!(ended[0]["program"], "hip-hold", "from the file of its workload");
    assert!(
        ended[0]["peak_memory_bytes"].as_u64().unwrap() > 6 * GI,
        "from its usage page: {ended}"
    );
}

#[test]
fn a_container_of_0_1_0_that_has_ended_is_reaped() {
    let sandbox = left_by_0_1_0();
    edit(&record_of(&sandbox, CONTAINERS), |record| {
        record["holder"]["process"] = json!({"pid": 1, "start_time": u64::MAX});
    });
    assert_eq!(
        succeeded(&sandbox.run(&["slice", "reap"])),
        format!("{CONTAINERS}\n")
    );
    assert_eq!(sandbox.slices().len(), 2);
}

#[test]
fn fields_that_a_later_version_adds_are_no_obstacle() {
    let sandbox = left_by_0_1_0();
    let before = sandbox.slices();
    for id in sandbox.ledger_files() {
        for file in ["slice.json", "edits.json"] {
            edit(&slice(&sandbox, &id).join(file), add_fields);
        }
    }
    let history = sandbox.path("state/history");
    let mut line: Value = serde_json::from_str(fs::read_to_string(&history).unwrap().trim()).unwrap();
    add_fields(&mut line);
    fs::write(&history, format!("\n{line}\n")).unwrap();
    assert_eq!(sandbox.slices(), before);
    assert_eq!(
        sandbox
            .json(&["slice", "history", "--json"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    succeeded(&sandbox.run(&["slice", "resize", "llama", "--memory=30Gi"]));
    succeeded(&sandbox.run(&["cdi", "refresh"]));
}

/// A field that nobody knows, in each object that is not one of several kinds told apart by their only field.
fn add_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add_fields);
            let is_kind = fields
                .keys()
                .next()
                .is_some_and(|key| key.starts_with(char::is_uppercase));
            if !is_kind {
                fields.insert("field of the future".to_owned(), json!({"a": [1.5, null]}));
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(add_fields),
        _ => {}
    }
}

#[test]
fn fields_that_say_nothing_may_be_absent() {
    let sandbox = left_by_0_1_0();
    let before = sandbox.slices();
    for id in sandbox.ledger_files() {
        for file in ["slice.json", "edits.json"] {
            edit(&slice(&sandbox, &id).join(file), remove_nulls);
        }
        edit(&record_of(&sandbox, &id), |record| {
            // Not there in the first records of version 1.
            record["request"].as_object_mut().unwrap().remove("enforcement");
        });
    }
    assert_eq!(sandbox.slices(), before);
    succeeded(&sandbox.run(&["slice", "resize", "llama", "--memory=30Gi"]));
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// A bundle whose container asks for a slice, and a stand-in for the real runtime.
fn bundle(sandbox: &Sandbox) -> PathBuf {
    let bundle = sandbox.path("bundle");
    image::fill(&bundle.join("rootfs"));
    let config = json!({
        "root": {"path": bundle.join("rootfs")},
        "process": {"args": ["/bin/true"]},
        "annotations": {"sdg.memory": "1Gi"},
    });
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let real = sandbox.path("runc");
    fs::write(&real, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.configure(&format!("runtime = {real:?}\n"));
    bundle
}

/// A ledger in which one record is not understood: every verb that has to know what is taken says so in one line, which
/// names the file; nothing is placed and nothing goes.
fn assert_refused_by_name(sandbox: &Sandbox, id: &str, reason: &str) {
    let there = sandbox.ledger_files();
    let bundle = bundle(sandbox);
    let config = fs::read(bundle.join("config.json")).unwrap();
    let state = json!({"id": CONTAINER, "pid": std::process::id(), "bundle": bundle}).to_string();
    let create = [
        "runtime",
        "--",
        "create",
        "--bundle",
        bundle.to_str().unwrap(),
        "c1",
    ];
    let verbs: [(&[&str], &[u8]); 15] = [
        (&["slice", "list"], b""),
        (&["slice", "list", "--json"], b""),
        (&["slice", "show", id], b""),
        (&["slice", "show", "another"], b""),
        (&["slice", "create", "--memory=1Gi"], b""),
        (&["slice", "create", "--memory=1Gi", "--name=new"], b""),
        (&["slice", "resize", id, "--memory=1Gi"], b""),
        (&["slice", "reap"], b""),
        (&["slice", "delete", "another"], b""),
        (&["cdi", "refresh"], b""),
        (&["hook", "precreate"], &config),
        (&["hook", "create-runtime", "--slice", id], state.as_bytes()),
        (&["hook", "create-container", "--slice", id], state.as_bytes()),
        (&["hook", "create-runtime"], state.as_bytes()),
        (&create, b""),
    ];
    let named = format!("slices/{id}/slice.json: {reason}");
    for (verb, stdin) in verbs {
        let output = run_with_places(sandbox, verb, stdin);
        let said = complaint(&output);
        assert!(said.contains(&named), "{verb:?}: {said}");
        assert_eq!(output.stdout, b"", "{verb:?}");
    }
    // What has to go on goes on, and says so.
    let output = sandbox.run_with(&["hook", "poststop", "--slice", id], state.as_bytes());
    succeeded(&output);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains(&named), "{}", stderr(&output));
    succeeded(&run_with_places(sandbox, &["runtime", "--", "delete", "c1"], b""));
    succeeded(&sandbox.run(&["slice", "history"]));
    succeeded(&sandbox.run(&["cdi", "generate"]));
    let doctor = sandbox.run(&["doctor"]);
    assert!(!doctor.status.success());
    let page = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        page.lines()
            .any(|line| line.contains("BROKEN") && line.contains(&named)),
        "{page}"
    );
    assert_eq!(sandbox.ledger_files(), there);
}

/// Options come before what is handed to the real runtime.
fn run_with_places(sandbox: &Sandbox, verb: &[&str], stdin: &[u8]) -> Output {
    let Some(handed_on) = verb.strip_prefix(&["runtime", "--"]) else {
        return sandbox.run_with(verb, stdin);
    };
    let mut command = sandbox.sdg(&["runtime"]);
    command.arg("--").args(handed_on).output().unwrap()
}

#[test]
fn records_of_other_versions_are_refused_by_every_verb_and_stay() {
    for version in [0, 2] {
        let sandbox = left_by_0_1_0();
        let path = record_of(&sandbox, NAMED);
        edit(&path, |record| record["version"] = json!(version));
        let left = fs::read(&path).unwrap();
        assert_refused_by_name(
            &sandbox,
            NAMED,
            &format!("record version {version}, this program knows 1"),
        );
        assert_eq!(fs::read(&path).unwrap(), left);
    }
    // Whatever else is in it.
    let sandbox = left_by_0_1_0();
    let newer = json!({"version": 99, "slice": {"id": NAMED}, "devices": []});
    fs::write(record_of(&sandbox, NAMED), newer.to_string()).unwrap();
    assert_refused_by_name(&sandbox, NAMED, "record version 99, this program knows 1");
}

#[test]
fn records_that_are_cut_short_or_gone_are_refused_by_every_verb() {
    let length = fs::metadata(record_of(&left_by_0_1_0(), NAMED)).unwrap().len();
    for cut in [0, length - 1] {
        let sandbox = left_by_0_1_0();
        let record = File::options().write(true).open(record_of(&sandbox, NAMED));
        record.unwrap().set_len(cut).unwrap();
        assert_refused_by_name(&sandbox, NAMED, "EOF");
    }
    let sandbox = left_by_0_1_0();
    fs::remove_file(record_of(&sandbox, NAMED)).unwrap();
    assert_refused_by_name(&sandbox, NAMED, "not there");
}

#[test]
fn a_slice_that_is_not_understood_is_deleted_by_its_id_alone_and_not_while_somebody_is_in_it() {
    let sandbox = left_by_0_1_0();
    edit(&record_of(&sandbox, CONTAINERS), |record| {
        record["version"] = json!(2)
    });
    let said = complaint(&sandbox.run(&["slice", "delete", CONTAINERS]));
    let me = std::process::id();
    assert_eq!(
        said,
        format!("sdg: slice {CONTAINERS} is used by process {me} (stop it first)")
    );

    edit(&record_of(&sandbox, CONTAINERS), |record| {
        record["holder"] = json!({"moved": "elsewhere"})
    });
    // Version 2 of the usage page, whose locks are where they were.
    let process = process_in(&sandbox, CONTAINERS, 300);
    process.write_all_at(&[2], VERSION_AT).unwrap();
    let said = complaint(&sandbox.run(&["slice", "delete", CONTAINERS]));
    assert!(said.contains("is used by 1 running process(es)"), "{said}");
    drop(process);
    succeeded(&sandbox.run(&["slice", "delete", CONTAINERS]));
    assert_eq!(sandbox.slices().len(), 2);

    // Nothing is left to say who is in it.
    fs::remove_file(record_of(&sandbox, NAMED)).unwrap();
    fs::remove_file(slice(&sandbox, NAMED).join("usage")).unwrap();
    succeeded(&sandbox.run(&["slice", "delete", NAMED]));
    assert_eq!(sandbox.ledger_files(), [WHOLE]);
}

#[test]
fn limits_pages_of_other_layouts_are_refused_by_name_and_nothing_is_given_twice() {
    type Spoil<'a> = &'a dyn Fn(&File);
    let version =
        |version: u32| move |page: &File| page.write_all_at(&version.to_le_bytes(), VERSION_AT).unwrap();
    let cut = |length: u64| move |page: &File| page.set_len(length).unwrap();
    let ways: [(Spoil<'_>, &str); 6] = [
        (&version(0), "layout version 0, this program knows 1"),
        (&version(2), "layout version 2, this program knows 1"),
        (&version(99), "layout version 99, this program knows 1"),
        (&cut(0), "shorter than the 12352 bytes of its layout"),
        (&cut(12_351), "shorter than the 12352 bytes of its layout"),
        (&|page| page.write_all_at(b"x", 0).unwrap(), "not a page of sdg"),
    ];
    for (spoil, reason) in ways {
        let sandbox = left_by_0_1_0();
        let page = slice(&sandbox, NAMED).join("limits");
        spoil(&File::options().write(true).open(&page).unwrap());
        let records = || [NAMED, CONTAINERS].map(|id| fs::read_to_string(record_of(&sandbox, id)).unwrap());
        let before = records();
        // The page has to be written: other slices on its GPU take from what is lent to it.
        let beside: &[&str] = &["slice", "create", "--gpu=0", "--memory=1Gi", "--compute=250m"];
        for verb in [
            &["slice", "list"][..],
            &["slice", "show", "llama"],
            &["slice", "resize", "llama", "--memory=30Gi"],
            &["slice", "resize", CONTAINERS, "--memory=12Gi"],
            beside,
        ] {
            let said = complaint(&sandbox.run(verb));
            assert!(
                said.contains(page.to_str().unwrap()) && said.contains(reason),
                "{verb:?}: {said}"
            );
        }
        assert_eq!(records(), before);
        assert_eq!(sandbox.ledger_files().len(), 3);
        // On another GPU nothing stands in the way, and what has such a page can go.
        succeeded(&sandbox.run(&["slice", "create", "--gpu=2", "--memory=1Gi"]));
        succeeded(&sandbox.run(&["slice", "delete", "llama"]));
        succeeded(&sandbox.run(beside));
        assert_nothing_is_given_twice(&sandbox);
    }
}

#[test]
fn lines_of_other_versions_cost_the_history_no_other() {
    let sandbox = left_by_0_1_0();
    let path = sandbox.path("state/history");
    let line = fs::read_to_string(&path).unwrap().trim().to_owned();
    let other = |version: u32| {
        let mut line: Value = serde_json::from_str(&line).unwrap();
        line["version"] = json!(version);
        line["id"] = json!(format!("{version:012x}"));
        line.to_string()
    };
    let cut = &line[..line.len() / 2];
    fs::write(
        &path,
        format!("{}\n{cut}\n\n{line}\n{}\n{}", other(0), other(2), other(99)),
    )
    .unwrap();
    let before = sandbox.json(&["slice", "history", "--json"]);
    assert_eq!(before.as_array().unwrap().len(), 1, "{before}");
    // Another line comes behind them.
    succeeded(&sandbox.run(&["slice", "delete", "llama"]));
    let after = sandbox.json(&["slice", "history", "--json"]);
    assert_eq!((after.as_array().unwrap().len(), &after[0]), (2, &before[0]));
}

#[test]
fn an_index_of_another_version_says_nothing() {
    let sandbox = left_by_0_1_0();
    let before = sandbox.slices();
    succeeded(&sandbox.run(&["slice", "reap"]));
    let path = sandbox.path("state/index");
    let index = fs::read(&path).unwrap();
    for version in [0_u32, 1, 3, 99] {
        fs::write(&path, [&version.to_le_bytes(), &index[4..]].concat()).unwrap();
        assert_eq!(sandbox.slices(), before, "{version}");
    }
    for length in [0, 3, 4, index.len() - 1] {
        fs::write(&path, &index[..length]).unwrap();
        assert_eq!(sandbox.slices(), before, "{length} bytes");
    }
}

#[test]
fn edits_that_are_not_understood_stop_a_container_and_keep_the_slice() {
    let sandbox = left_by_0_1_0();
    let path = slice(&sandbox, NAMED).join("edits.json");
    fs::write(&path, r#"{"slice": 1}"#).unwrap();
    let state = json!({"id": "c", "pid": std::process::id(), "bundle": sandbox.path("bundle")}).to_string();
    for verb in [
        &["hook", "create-runtime", "--slice", NAMED][..],
        &["hook", "create-container", "--slice", NAMED],
        &["slice", "resize", NAMED, "--memory=30Gi"],
        &["cdi", "refresh"],
    ] {
        let said = complaint(&sandbox.run_with(verb, state.as_bytes()));
        assert!(said.contains(path.to_str().unwrap()), "{verb:?}: {said}");
    }
    assert_eq!(sandbox.slices().len(), 3);
}
