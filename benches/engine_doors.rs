//! What our doors cost beside what they stand in front of, wall times of whole processes, taken in turns in one run, the
//! median and the fastest (which a busy machine disturbs least): `sdg-runtime create` beside `runc create`, and
//! `sdg cdi generate` on 64 partitions beside `cat`. Between runc and us is a floor: the config as we edit it, with hooks
//! that do nothing. What it costs is runc's.
//!
//! Run as root with `cargo bench --bench engine_doors`. `SDG_PROGRAM=/usr/bin/sdg` measures a program as it is
//! installed, which is linked statically and starts sooner.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot set up its ground has failed"
)]

#[path = "../tests/support/sandbox.rs"]
mod sandbox;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::Sandbox;
use serde_json::{Value, json};

const ROUNDS: usize = 100;

fn main() {
    generate();
    if nix::unistd::geteuid().is_root() {
        create();
    } else {
        println!("sdg-runtime create: only root can make containers");
    }
}

fn generate() {
    let sandbox = with_program(Sandbox::new("mi300x-8-cpx", &[]));
    let directory = sandbox.path("cdi");
    let arguments = ["cdi", "generate", "--output", directory.to_str().unwrap()];
    let (mut ours, mut cat) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time(&mut sandbox.sdg(&arguments)));
        cat.push(time(Command::new("cat").arg("/dev/null")));
    }
    report(
        "cdi generate, 64 partitions",
        ("cat", &Times::of(cat)),
        &Times::of(ours),
    );
}

fn create() {
    let sandbox = with_program(Sandbox::new("mi300x-8", &[]));
    sandbox.configure("runtime = \"runc\"\nallow_uncovered_images = true\n");
    let plain = bundle(&sandbox, "plain", &json!({}));
    let sliced = bundle(
        &sandbox,
        "sliced",
        &json!({"sdg.memory": "1Gi", "sdg.compute": "20m"}),
    );
    let original = std::fs::read(sliced.join("config.json")).unwrap();
    let floor = floor_bundle(&sandbox, &sliced);
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        for (way, times) in times.iter_mut().enumerate() {
            std::fs::write(sliced.join("config.json"), &original).unwrap();
            let bundle = [&plain, &floor, &plain, &sliced][way];
            times.push(create_and_delete(&sandbox, way >= 2, bundle));
        }
    }
    let [alone, floor, untouched, placed] = times.map(Times::of);
    let alone = ("runc create", &alone);
    report("runc create, our edits with hooks that do nothing", alone, &floor);
    report("sdg-runtime create, no slice asked for", alone, &untouched);
    let checked = "sdg-runtime create, a slice placed and checked by its hooks";
    report(checked, alone, &placed);
    report(checked, ("our edits with hooks that do nothing", &floor), &placed);
}

/// How long a container's making takes; its removal is not counted.
fn create_and_delete(sandbox: &Sandbox, ours: bool, bundle: &Path) -> Duration {
    let mut command = runtime(sandbox, ours);
    let elapsed = time(command.arg("create").arg("--bundle").arg(bundle).arg("sdg-bench"));
    time(runtime(sandbox, ours).args(["delete", "--force", "sdg-bench"]));
    elapsed
}

/// The edited config of a container that there was, with copies of the slice's files and other hooks.
fn floor_bundle(sandbox: &Sandbox, sliced: &Path) -> PathBuf {
    let bundle = bundle(sandbox, "floor", &json!({}));
    let mut create = runtime(sandbox, true);
    time(create.arg("create").arg("--bundle").arg(sliced).arg("sdg-bench"));
    let text = std::fs::read(sliced.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    for (number, mount) in config["mounts"].as_array_mut().unwrap().iter_mut().enumerate() {
        let source = PathBuf::from(mount["source"].as_str().unwrap_or_default());
        if source.starts_with(sandbox.path("state")) {
            let copy = bundle.join(number.to_string());
            std::fs::copy(source, &copy).unwrap();
            mount["source"] = json!(copy);
        }
    }
    let hook = json!([{"path": floor_program(sandbox), "args": ["floor"], "env": ["PATH=/usr/bin:/bin"]}]);
    for hooks in config["hooks"].as_object_mut().unwrap().values_mut() {
        *hooks = hook.clone();
    }
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    time(runtime(sandbox, true).args(["delete", "--force", "sdg-bench"]));
    bundle
}

fn floor_program(sandbox: &Sandbox) -> PathBuf {
    let program = sandbox.path("floor-program");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/floor.c");
    let mut compiler = Command::new("cc");
    time(compiler.args(["-O2", "-static", source, "-o"]).arg(&program));
    program
}

fn with_program(mut sandbox: Sandbox) -> Sandbox {
    if let Some(program) = std::env::var_os("SDG_PROGRAM") {
        sandbox.program = program.into();
    }
    sandbox
}

/// runc, or runc behind sdg; with a state directory of its own.
fn runtime(sandbox: &Sandbox, ours: bool) -> Command {
    let mut command = if ours {
        Command::new(&sandbox.program)
    } else {
        Command::new("runc")
    };
    if ours {
        for (option, name) in [
            ("--sysroot", "root"),
            ("--state", "state"),
            ("--config", "config.toml"),
        ] {
            command.arg(option).arg(sandbox.path(name));
        }
        command.args(["runtime", "--"]);
    }
    command.arg("--root").arg(sandbox.path("runc"));
    command
}

/// runc's own config with a static busybox as root file system, which the configuration allows.
fn bundle(sandbox: &Sandbox, name: &str, annotations: &Value) -> PathBuf {
    let bundle = sandbox.path(name);
    std::fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/busybox")).unwrap();
    let made = Command::new("runc")
        .arg("spec")
        .current_dir(&bundle)
        .status()
        .unwrap();
    assert!(made.success(), "runc spec");
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["args"] = json!(["/bin/busybox", "sleep", "1000"]);
    config["process"]["terminal"] = json!(false);
    config["process"].as_object_mut().unwrap().remove("rlimits");
    config["annotations"] = annotations.clone();
    // The simulated node's /sys has no place for the cgroups.
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    std::fs::write(&path, config.to_string()).unwrap();
    bundle
}

fn time(command: &mut Command) -> Duration {
    // A container keeps its creator's pipes open.
    let started = Instant::now();
    let log = tempfile::tempfile().unwrap();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .status()
        .unwrap();
    let elapsed = started.elapsed();
    assert!(status.success(), "{command:?}: {}", read(&log));
    elapsed
}

fn read(mut log: &std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    text
}

/// In milliseconds.
struct Times {
    median: f64,
    fastest: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let milliseconds = |at: usize| times[at].as_secs_f64() * 1e3;
        Self {
            median: milliseconds(times.len() / 2),
            fastest: milliseconds(0),
        }
    }
}

fn report(what: &str, (baseline, alone): (&str, &Times), ours: &Times) {
    for (which, ours, alone) in [
        ("median", ours.median, alone.median),
        ("fastest", ours.fastest, alone.fastest),
    ] {
        println!(
            "{what}, {which}: {ours:.2} ms, {baseline} {alone:.2} ms: {:+.2} ms, ratio {:.2}",
            ours - alone,
            ours / alone
        );
    }
}
