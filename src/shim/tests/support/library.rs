//! What is built for the tests.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::PathBuf;
use std::process::Command;

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
        PathBuf::from,
    )
}

fn cargo(arguments: &[&str]) -> Command {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]).args(arguments);
    build
}

fn run(mut build: Command) {
    let status = build.status().unwrap();
    assert!(status.success(), "{build:?}");
}

/// With the flags that `make build` has built a release with, where `make test` says them: then it is there already.
fn release(package: &str) {
    let mut build = cargo(&["--release", "--package", package]);
    if let Some(flags) = std::env::var_os("SDG_RELEASE_RUSTFLAGS") {
        build.env("RUSTFLAGS", flags);
    }
    run(build);
}

/// Builds `libsdg.so` as a release has it, and says where it is.
pub fn build() -> PathBuf {
    release("sdg-shim");
    target().join("release/libsdg.so")
}

/// Builds the simulator, and says where it is.
pub fn simulator() -> PathBuf {
    release("sdg-sim");
    target().join("release/sdg-sim")
}

/// Builds the program that makes GPU calls, as the tests themselves are built, and says where it is.
pub fn program() -> PathBuf {
    run(cargo(&["--package", "sdg-shim", "--example", "gpu_calls"]));
    target().join("debug/examples/gpu_calls")
}
