//! Libraries that are opened so that they would pass the shim call it all the same, and nothing else about them changes.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/library.rs"]
mod library;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with a program that opens a library, and the library.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        let ground = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(ground.path("beside")).unwrap();
        gcc(
            "opened.c",
            &ground.path("beside/libopened.so"),
            &["-shared", "-fPIC", "-ldl"],
        );
        gcc(
            "opener.c",
            &ground.path("opener"),
            &["-Wl,-rpath,$ORIGIN/beside", "-ldl"],
        );
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the program prints of a library that it opens in these ways, a line each.
    fn open(&self, shim: &Path, library: &str, ways: &[&str]) -> Vec<String> {
        let output = Command::new(self.path("opener"))
            .arg(library)
            .args(ways)
            .env("LD_PRELOAD", shim)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn gcc(source: &str, to: &Path, flags: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(source);
    let built = Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Werror", "-o"])
        .arg(to)
        .arg(source)
        .args(flags)
        .status();
    assert!(built.unwrap().success());
}

/// What is printed where a library that is opened in these ways calls the `ioctl` of one.
fn all_call(whose: &str, ways: &[&str]) -> Vec<String> {
    ways.iter().map(|way| format!("{way}: {whose}")).collect()
}

const WAYS: [&str; 6] = ["plain", "deep", "base", "new", "new-deep", "beside"];

#[test]
fn whatever_way_a_library_is_opened_it_calls_the_shim() {
    let ground = Ground::new();
    // By its name alone: it is found by the program's own RUNPATH, and the next one by that too.
    let opened = ground.open(&library::build(), "libopened.so", &WAYS[..3]);
    assert_eq!(opened, all_call("libsdg.so", &WAYS[..3]));
    let whole = ground.path("beside/libopened.so");
    let opened = ground.open(&library::build(), whole.to_str().unwrap(), &WAYS);
    assert_eq!(opened, all_call("libsdg.so", &WAYS));
}

#[test]
fn without_the_shim_the_same_ways_lead_to_libc() {
    let ground = Ground::new();
    let whole = ground.path("beside/libopened.so");
    let opened = ground.open(Path::new(""), whole.to_str().unwrap(), &WAYS);
    assert_eq!(opened, all_call("libc.so.6", &WAYS));
}

#[test]
fn what_cannot_be_opened_says_why_and_namespaces_can_be_had_again() {
    let ground = Ground::new();
    let reason = "/none.so: cannot open shared object file: No such file or directory";
    let ways = [&WAYS[..5], &["new"; 40]].concat();
    for line in ground.open(&library::build(), "/none.so", &ways) {
        assert!(line.ends_with(reason), "{line}");
    }
    let whole = ground.path("beside/libopened.so");
    let opened = ground.open(&library::build(), whole.to_str().unwrap(), &["new"; 40]);
    assert_eq!(opened, ["new: libsdg.so"; 40]);
}
