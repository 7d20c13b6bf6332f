//! A simulated node with a state directory, and the built program on it.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use sdg_sim::preset::Preset;
use serde_json::Value;

#[path = "stand_in.rs"]
mod stand_in;

/// A temporary directory with `root` (the node), `state`, `config.toml` and a stand-in for the shim.
pub struct Sandbox {
    /// The program under test.
    pub program: PathBuf,
    /// All of it.
    pub dir: tempfile::TempDir,
}

impl Sandbox {
    /// A node of a preset, with `KEY=VALUE` changes.
    pub fn new(preset: &str, changes: &[&str]) -> Self {
        let mut preset = Preset::named(preset).unwrap();
        preset.set_all(changes).unwrap();
        // Ledgers live on tmpfs; on a disk the thousands of small files of a test take minutes.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        sdg_sim::node::build(&preset, &dir.path().join("root")).unwrap();
        let sandbox = Self {
            program: env!("CARGO_BIN_EXE_sdg").into(),
            dir,
        };
        std::fs::write(sandbox.path("libsdg.so"), stand_in::library("ioctl")).unwrap();
        sandbox.configure("");
        sandbox
    }

    /// Replaces the configuration; the shim is always set.
    pub fn configure(&self, lines: &str) {
        let shim = self.path("libsdg.so");
        let text = format!("shim = {shim:?}\n{lines}");
        std::fs::write(self.path("config.toml"), text).unwrap();
    }

    /// A path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with the sandbox's places.
    pub fn sdg(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg("--sysroot")
            .arg(self.path("root"))
            .arg("--state")
            .arg(self.path("state"))
            .arg("--config")
            .arg(self.path("config.toml"));
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.sdg(args).output().unwrap()
    }

    /// Runs with a text on stdin.
    pub fn run_with(&self, args: &[&str], stdin: &[u8]) -> Output {
        run_with(&mut self.sdg(args), stdin)
    }

    /// Runs a command that succeeds and prints JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// All slices.
    pub fn slices(&self) -> Vec<Value> {
        let Value::Array(slices) = self.json(&["slice", "list", "--json"]) else {
            panic!("no array")
        };
        slices
    }

    /// Names in the ledger's directory, leftovers included.
    pub fn ledger_files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("state/slices")) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

/// What a command said on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command with a text on stdin, which it may leave unread: one that refuses before has ended by then.
pub fn run_with(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    match child.stdin.take().unwrap().write_all(stdin) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.unwrap(),
    }
    child.wait_with_output().unwrap()
}

/// What a command said on stderr, which is one line.
pub fn complaint(output: &Output) -> String {
    let text = stderr(output);
    assert!(!output.status.success(), "it succeeded");
    assert_eq!(text.lines().count(), 1, "more than a line: {text}");
    text.trim_end().to_owned()
}
