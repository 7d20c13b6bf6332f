//! One fault or one kill at a chosen system call of a program: strace(1)'s `inject`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

/// The calls that touch files: what is between two of them changes nothing outside of the process.
const FILE_CALLS: &str = "trace=%file,%desc";

/// A system call of a program's run.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    name: String,
    /// Which of the calls of that name it is, from 1.
    number: usize,
    /// It and its arguments, as strace writes them.
    pub line: String,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It fails with this error and does nothing.
    Error(&'static str),
    /// The program is killed before it.
    Kill,
}

impl Call {
    /// What can happen at this call.
    pub fn faults(&self) -> Vec<Fault> {
        if self.cannot_fail() {
            return Vec::new();
        }
        let errors = self.errors().iter().map(|name| Fault::Error(name));
        let kill = (!self.only_looks()).then_some(Fault::Kill);
        errors.chain(kill).collect()
    }

    /// Closing a file, giving back a lock and a look at the root of `/proc` (which strace shows as `/` where it is a
    /// mount of the program's own) do not fail on Linux with tmpfs, sysfs and procfs.
    fn cannot_fail(&self) -> bool {
        let sure = ["LOCK_UN", "</proc>", "</>"];
        matches!(self.name.as_str(), "close" | "fcntl") || sure.iter().any(|text| self.line.contains(text))
    }

    /// A kill before it is a kill before the call that comes next.
    fn only_looks(&self) -> bool {
        let looks = [
            "read",
            "readlink",
            "readlinkat",
            "statx",
            "newfstatat",
            "fstatfs",
            "getdents64",
        ];
        looks.contains(&self.name.as_str())
    }

    /// Errors of the medium, of a full one, of a signal, of too many open files, locks or mappings.
    fn errors(&self) -> &'static [&'static str] {
        match self.name.as_str() {
            "openat" if self.line.contains("O_CREAT") => &["ENOSPC", "EMFILE"],
            "write" => &["ENOSPC", "EINTR"],
            "read" => &["EIO", "EINTR"],
            "mkdir" | "ftruncate" | "rename" => &["ENOSPC"],
            "flock" => &["EINTR", "ENOLCK"],
            "mmap" => &["ENOMEM"],
            _ => &["EIO"],
        }
    }
}

/// A command under strace with its standard streams in files: a pipe's other end would be part of the test.
fn strace(command: &Command, options: &[&OsStr], stdin: &Path) -> Output {
    Command::new("strace")
        .args(options)
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(File::open(stdin).unwrap())
        .output()
        .unwrap_or_else(|error| panic!("strace: {error} (scripts/packages.sh test installs it)"))
}

/// Runs a command to its end and says which file calls it makes, from the first that mentions `start` on: what comes
/// before is the loader's.
pub fn file_calls(command: &Command, stdin: &Path, (trace, start): (&Path, &str)) -> Vec<Call> {
    let options = ["-y", "-e", FILE_CALLS, "-o"].map(OsStr::new);
    let options = [&options[..], &[trace.as_os_str()]].concat();
    let output = strace(command, &options, stdin);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(trace).unwrap();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((name, arguments)) = line.split_once('(') else {
            continue;
        };
        let count = counts.entry(name).or_default();
        *count += 1;
        if calls.is_empty() && (name == "execve" || !arguments.contains(start)) {
            continue;
        }
        // The allocator's memory is not a file's.
        if name == "mmap" && arguments.contains("MAP_ANONYMOUS") {
            continue;
        }
        calls.push(Call {
            name: name.to_owned(),
            number: *count,
            line: line.to_owned(),
        });
    }
    calls
}

/// Runs a command with a fault at a call.
pub fn run_with_fault(command: &Command, stdin: &Path, (call, fault): (&Call, Fault)) -> Output {
    let effect = match fault {
        Fault::Error(name) => format!("error={name}"),
        Fault::Kill => "signal=KILL".to_owned(),
    };
    let (name, number) = (&call.name, call.number);
    let trace = format!("trace={name}");
    let inject = format!("inject={name}:{effect}:when={number}");
    let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    strace(command, &options.map(OsStr::new), stdin)
}
