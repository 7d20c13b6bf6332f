//! `sdg-sim run` and `status`, by the built program. As root only: it makes device nodes and mounts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, too")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const SDG_SIM: &str = env!("CARGO_BIN_EXE_sdg-sim");

/// Whether the tests can run here; says why where they cannot, which is no excuse in CI.
fn can_run() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let has_gpu = Path::new("/sys/class/kfd/kfd").exists();
    if is_root && !has_gpu {
        return true;
    }
    let why = if is_root {
        "this machine has a KFD of its own"
    } else {
        "only root can run sdg-sim run"
    };
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
    false
}

fn simulate(options: &[&str], command: &[&str]) -> Output {
    Command::new(SDG_SIM)
        .arg("run")
        .args(options)
        .arg("--")
        .args(command)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn compile(name: &str, directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name)
        .with_extension("c");
    let program = directory.join(name);
    let flags = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
    let status = Command::new("cc")
        .args(flags)
        .arg(&program)
        .arg(source)
        .status()
        .unwrap();
    assert!(status.success(), "cc: {status}");
    program
}

/// Results that differ from 0, and values, in the order of the program.
const STRICT: &str = "\
version 1
unknown-call ENOTTY
bad-pointer EFAULT
alloc-before-acquire EINVAL
acquire-other-gpu EINVAL
acquire-by-kfd EINVAL
alloc-nothing EINVAL
alloc-too-much ENOMEM
figure 1048576
free-mapped EBUSY
free-again EINVAL
figure 0
mask-of-33-bits EINVAL
mask-of-no-bits EINVAL
mask-without-queue EFAULT
queue-of-3000-bytes EINVAL
queue-without-buffers EINVAL
queue-of-unknown-type EOPNOTSUPP
event-page given
wait-result 1
set-unknown EINVAL
device char 226 128
gem-close-again EINVAL
command-submission EINVAL
null-in-its-place ENOTTY
in-a-child EBADF";

#[test]
fn a_static_program_meets_the_kernels_rules() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compile("strict", directory.path());
    let log = directory.path().join("log");
    let output = simulate(&["--log", log.to_str().unwrap()], &[program.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let notable: Vec<&str> = lines
        .lines()
        .filter(|line| !line.ends_with(" 0") || *line == "figure 0")
        .collect();
    assert_eq!(notable.join("\n"), STRICT, "all: {lines}");
    assert_eq!(lines.lines().count(), 50, "{lines}");

    let events: Vec<Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |name: &str| {
        events
            .iter()
            .filter(|event| event["event"] == name)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("open").len(), 4);
    let granted = of("alloc")
        .into_iter()
        .filter(|event| event["result"] == "ok")
        .count();
    assert_eq!((granted, of("free").len(), of("end").len()), (3, 2, 2));
    assert!(of("refused").iter().any(|event| event["errno"] == "EBADF"));
}

#[test]
fn a_call_that_signals_interrupt_is_served_once() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compile("storm", directory.path());
    let log = directory.path().join("log");
    let output = simulate(&["--log", log.to_str().unwrap()], &[program.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "failed 0\nstormy\n");
    let events = fs::read_to_string(&log).unwrap();
    let count = |name: &str| events.matches(&format!("\"event\":\"{name}\"")).count();
    assert_eq!((count("alloc"), count("free"), count("refused")), (1000, 1000, 0));
}

#[test]
fn the_command_sees_the_node_and_the_machine_does_not() {
    if !can_run() {
        return;
    }
    let script = "test -c /dev/kfd && cat /sys/class/kfd/kfd/topology/nodes/*/gpu_id && ls /sys/fs/cgroup /dev/pts >/dev/null \
                  && test -d \"$SDG_SYSROOT/sys\" && exit 7";
    let output = simulate(&["--preset", "mi210-4"], &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let gpus = text(&output.stdout).lines().filter(|id| *id != "0").count();
    assert_eq!(gpus, 4);
    assert!(!Path::new("/dev/kfd").exists());
}

#[test]
fn a_signal_ends_the_command_and_is_its_status() {
    if !can_run() {
        return;
    }
    assert_eq!(
        simulate(&[], &["sh", "-c", "kill -TERM $$"]).status.code(),
        Some(143)
    );
    let missing = simulate(&[], &["/no/such/command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).starts_with("sdg-sim: /no/such/command: No such file"));
}

#[test]
fn the_status_of_a_run_is_told_in_json() {
    if !can_run() {
        return;
    }
    let output = simulate(&[], &[SDG_SIM, "status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["gpus"][0]["memory_bytes"], 206_141_652_992_u64);
    assert_eq!(status["gpus"][0]["compute_units"], 304);
    assert_eq!(status["processes"], Value::Array(Vec::new()));
    let nobody = Command::new(SDG_SIM)
        .args(["status", "--node", "/nonexistent"])
        .output()
        .unwrap();
    assert!(!nobody.status.success());
    assert!(text(&nobody.stderr).contains("/nonexistent/status.sock"));
}

#[test]
fn a_killed_run_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    let script = "echo $SDG_SYSROOT $$; exec sleep 600";
    let mut run = Command::new(SDG_SIM)
        .args(["run", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (directory, pid) = line.trim().split_once(' ').unwrap();
    let left = [PathBuf::from(directory), Path::new("/proc").join(pid)];
    assert!(left.iter().all(|path| path.exists()), "{line}");
    run.kill().unwrap();
    run.wait().unwrap();
    gone(&left);
}

fn gone(left: &[PathBuf]) {
    let limit = Instant::now() + Duration::from_secs(60);
    while left.iter().any(|path| path.exists()) {
        assert!(Instant::now() < limit, "still there: {left:?}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_command_that_keeps_the_pid_has_the_node_and_so_has_what_it_leaves() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compile("strict", directory.path());
    let strict = program.to_str().unwrap();
    // What is left behind still has the devices when the command has ended.
    let script =
        "echo $$ $PPID $SDG_SYSROOT; (while test -e /proc/$$/exe; do sleep 0.02; done; \"$0\") >&2 & exit 7";
    let run = Command::new(SDG_SIM)
        .args(["run", "--keep-pid", "--", "sh", "-c", script, strict])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = run.id();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let line = text(&output.stdout);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..2], [id.to_string(), std::process::id().to_string()]);
    let lines = text(&output.stderr);
    assert!(lines.contains("\nin-a-child EBADF"), "{lines}");
    gone(&[PathBuf::from(words[2])]);
    let missing = simulate(&["--keep-pid"], &["/no/such/command"]);
    assert_eq!(missing.status.code(), Some(127));
    let unknown = simulate(&["--keep-pid", "--preset", "nothing"], &["true"]);
    assert_eq!(unknown.status.code(), Some(125), "{}", text(&unknown.stderr));
}

#[test]
fn the_nodes_sys_is_a_sysfs_for_those_who_ask() {
    if !can_run() {
        return;
    }
    let paths = [
        "/sys/class/drm",
        "/sys/devices/virtual/kfd/kfd/topology",
        "/sys",
        "/dev",
        "/proc",
    ];
    let types = |run: &[&str]| {
        let stat = [run, &["stat", "--file-system", "--format=%T"], &paths].concat();
        let output = Command::new(stat[0]).args(&stat[1..]).output().unwrap();
        text(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let seen = types(&[SDG_SIM, "run", "--"]);
    assert_eq!(seen[..3], ["sysfs"; 3]);
    assert_eq!(seen[4], "proc");
    assert_ne!(seen[3], "sysfs");
}

#[test]
fn the_machines_own_devices_stay_as_they_are() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let polled = compile("polled", directory.path());
    // Of every machine's network, a kind of virtual devices.
    let output = simulate(
        &[],
        &[polled.to_str().unwrap(), "/sys/devices/virtual/net/lo/operstate"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_second_sysfs_of_one_network_is_refused_where_the_first_is() {
    if !can_run() {
        return;
    }
    let again = "mount -t sysfs sysfs /sys; echo $?; unshare --net mount -t sysfs sysfs /sys; echo $?";
    let output = simulate(&[], &["sh", "-c", again]);
    let why = text(&output.stderr);
    assert_eq!(text(&output.stdout), "32\n0\n", "{why}");
    assert!(why.contains("already mounted"), "{why}");
}
