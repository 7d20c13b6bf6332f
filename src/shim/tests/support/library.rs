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

fn cargo(arguments: &[&str]) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "cargo build --release {arguments:?}");
}

/// Builds `libsdg.so` as a release has it, and says where it is.
pub fn build() -> PathBuf {
    cargo(&["--package", "sdg-shim"]);
    target().join("release/libsdg.so")
}

/// Builds the simulator, and says where it is.
pub fn simulator() -> PathBuf {
    cargo(&["--package", "sdg-sim"]);
    target().join("release/sdg-sim")
}

/// Builds the program that makes GPU calls, and says where it is.
pub fn program() -> PathBuf {
    cargo(&["--package", "sdg-shim", "--example", "gpu_calls"]);
    target().join("release/examples/gpu_calls")
}
