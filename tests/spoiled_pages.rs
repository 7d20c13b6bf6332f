//! What a container can do to the page that it may write, and pages and records of other versions: others are placed as
//! if it had all that it may, or are told which file is not understood.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sandbox::{Sandbox, complaint, stderr};
use sdg_abi::usage;

/// A node with a slice that may have up to 100 GiB; the slice's directory.
fn node() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new("mi300x", &[]);
    let output = sandbox.run(&[
        "slice",
        "create",
        "--name=hostile",
        "--memory=20Gi",
        "--memory-limit=100Gi",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let id = sandbox.slices()[0]["id"].as_str().unwrap().to_owned();
    let directory = sandbox.path("state/slices").join(id);
    (sandbox, directory)
}

fn overwrite(path: PathBuf, bytes: &[u8], offset: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset as u64).unwrap();
}

fn cut(directory: &std::path::Path, length: u64) {
    let page = directory.join(usage::FILE_NAME);
    File::options()
        .write(true)
        .open(page)
        .unwrap()
        .set_len(length)
        .unwrap();
}

/// What it does to a usage page, and how.
type Way<'a> = (&'a str, &'a dyn Fn(&PathBuf));

#[test]
fn a_container_that_spoils_its_usage_page_keeps_nobody_from_a_slice_and_gets_no_more() {
    let version = std::mem::offset_of!(usage::Header, version);
    let high_water = std::mem::offset_of!(usage::Header, high_water);
    let page = |directory: &PathBuf| directory.join(usage::FILE_NAME);
    let ways: [Way<'_>; 5] = [
        ("empty", &|directory| cut(directory, 0)),
        ("cut in its head", &|directory| cut(directory, 40)),
        ("other magic", &|directory| overwrite(page(directory), b"x", 0)),
        ("other version", &|directory| {
            overwrite(page(directory), &[9], version)
        }),
        ("cut behind its head, slots claimed", &|directory| {
            cut(directory, 64);
            overwrite(page(directory), &[0xff; 4], high_water);
        }),
    ];
    for (how, spoil) in ways {
        let (sandbox, directory) = node();
        spoil(&directory);
        let slices = sandbox.slices();
        assert_eq!(slices.len(), 1, "{how}");
        // 191.48 GiB less the 100 GiB that it may have: nothing else is certain.
        let output = sandbox.run(&["slice", "create", "--memory=91Gi"]);
        assert!(output.status.success(), "{how}: {}", stderr(&output));
        let refused = complaint(&sandbox.run(&["slice", "create", "--memory=100Gi"]));
        assert!(refused.contains("sdg.memory"), "{how}: {refused}");
        let output = sandbox.run(&["slice", "delete", "hostile"]);
        assert!(output.status.success(), "{how}: {}", stderr(&output));
    }
}

#[test]
fn a_limits_page_of_another_layout_is_refused_by_name() {
    let (sandbox, directory) = node();
    let version = std::mem::offset_of!(sdg_abi::limits::Header, version);
    overwrite(directory.join(sdg_abi::limits::FILE_NAME), &[200], version);
    let said = complaint(&sandbox.run(&["slice", "list"]));
    assert!(
        said.contains("/limits: layout version 200, this program knows"),
        "{said}"
    );
}

#[test]
fn a_record_of_another_version_is_refused_by_name_and_can_be_deleted() {
    let (sandbox, directory) = node();
    let path = directory.join("slice.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let older = record.replacen("\"version\":1", "\"version\":0", 1);
    assert_ne!(older, record);
    std::fs::write(&path, older).unwrap();
    for command in [&["slice", "list"][..], &["slice", "create", "--memory=1Gi"]] {
        let said = complaint(&sandbox.run(command));
        assert!(
            said.contains("slice.json: record version 0, this program knows 1"),
            "{said}"
        );
    }
    let id = directory.file_name().unwrap().to_str().unwrap();
    let output = sandbox.run(&["slice", "delete", id]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(sandbox.ledger_files(), [""; 0]);
}
