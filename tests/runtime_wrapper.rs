//! `sdg-runtime` with a stand-in for the real runtime that writes down how it was called: what is handed on, what is
//! edited, and that a container gets one slice however often its bundle is used.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

mod support {
    pub mod image;
    pub mod sandbox;
}

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::image;
use support::sandbox::{Sandbox, complaint, stderr};

/// Writes its arguments, environment, descriptors and working directory; fails where a file `fail` is beside it.
const REAL: &str = r#"#!/bin/sh
directory=$(dirname "$0")
for argument; do printf '%s\0' "$argument"; done >"$directory/arguments"
env >"$directory/environment"
pwd >"$directory/cwd"
[ ! -e /proc/self/fd/7 ] || cat <&7 >"$directory/fd7"
[ ! -e "$directory/fail" ]
"#;

struct Ground {
    sandbox: Sandbox,
}

impl Ground {
    fn new() -> Self {
        let sandbox = Sandbox::new("mi300x", &[]);
        let real = sandbox.path("bin/runc");
        std::fs::create_dir_all(real.parent().unwrap()).unwrap();
        std::fs::write(&real, REAL).unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.configure(&format!("runtime = {real:?}\n"));
        Self { sandbox }
    }

    /// A bundle whose container has these annotations.
    fn bundle(&self, annotations: Value) -> PathBuf {
        let bundle = self.sandbox.path("bundle");
        image::fill(&bundle.join("rootfs"));
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {"env": ["PATH=/bin"], "args": ["true"], "futureKey": [1.5, null]},
            "mounts": [{"destination": "/sys", "type": "sysfs", "source": "sysfs"}],
            "linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]}, "keyOfTheFuture": {"a": 1}},
            "annotations": annotations,
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sdg"));
        for (option, name) in [
            ("--sysroot", "root"),
            ("--state", "state"),
            ("--config", "config.toml"),
        ] {
            command.arg(option).arg(self.sandbox.path(name));
        }
        command.args(["runtime", "--"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn create(&self, bundle: &Path) -> Output {
        self.run(&[
            "create",
            "--bundle",
            bundle.to_str().unwrap(),
            "--pid-file",
            "/p",
            "c1",
        ])
    }

    /// What the real runtime was called with.
    fn handed_on(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.sandbox.path("bin/arguments")).unwrap_or_default();
        text.split_terminator('\0').map(str::to_owned).collect()
    }
}

fn succeeded(output: Output) {
    assert!(output.status.success(), "{}", stderr(&output));
}

fn config(bundle: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(bundle.join("config.json")).unwrap()).unwrap()
}

fn slice_of(config: &Value) -> String {
    let hooks = config["hooks"]["createRuntime"].as_array().unwrap();
    assert_eq!(hooks.len(), 1, "{hooks:?}");
    hooks[0]["args"][4].as_str().unwrap().to_owned()
}

fn asked() -> Value {
    json!({"sdg.memory": "20Gi", "sdg.exostellar.io/compute": "250m", "other": "kept"})
}

#[test]
fn a_container_that_asks_gets_its_slice_and_the_runtime_the_same_call() {
    let ground = Ground::new();
    let bundle = ground.bundle(asked());
    let before = config(&bundle);
    let arguments = [
        "--root",
        "/r",
        "--log=/dev/null",
        "create",
        "--bundle",
        bundle.to_str().unwrap(),
        "c1",
    ];
    succeeded(ground.run(&arguments));
    assert_eq!(ground.handed_on(), arguments);
    let after = config(&bundle);
    let slices = ground.sandbox.slices();
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["id"], slice_of(&after));
    assert_eq!(slices[0]["gpus"][0]["memory_bytes"], 20_u64 << 30);
    assert_eq!(after["linux"]["devices"][0]["path"], "/dev/kfd");
    assert_eq!(after["process"]["futureKey"], before["process"]["futureKey"]);
    assert_eq!(
        after["linux"]["keyOfTheFuture"],
        before["linux"]["keyOfTheFuture"]
    );
    assert_eq!(after["annotations"], before["annotations"]);
}

#[test]
fn what_does_not_ask_is_handed_on_untouched() {
    let ground = Ground::new();
    let sandbox_of = |key: &str| json!({"sdg.memory": "20Gi", key: "sandbox"});
    for annotations in [
        json!({}),
        json!({"other": "sdg"}),
        sandbox_of("io.kubernetes.cri.container-type"),
        sandbox_of("io.kubernetes.cri-o.ContainerType"),
    ] {
        let bundle = ground.bundle(annotations.clone());
        let before = std::fs::read(bundle.join("config.json")).unwrap();
        succeeded(ground.create(&bundle));
        assert_eq!(
            std::fs::read(bundle.join("config.json")).unwrap(),
            before,
            "{annotations}"
        );
        assert_eq!(ground.handed_on().last().unwrap(), "c1");
    }
    assert!(ground.sandbox.slices().is_empty());
}

#[test]
fn other_verbs_keep_arguments_environment_descriptors_and_directory() {
    let ground = Ground::new();
    let line = [
        "--log-format",
        "json",
        "exec",
        "--process",
        "a b\nc",
        "",
        "--",
        "c1",
    ];
    let pipe = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pipe.path(), "through descriptor 7").unwrap();
    let wrapped = ground.command(&line);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "file=$1; shift; exec \"$@\" 7<\"$file\"", "sh"])
        .arg(pipe.path());
    shell.arg(wrapped.get_program()).args(wrapped.get_args());
    let output = shell
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("_OCI_X", "1")
        .current_dir(ground.sandbox.path("root"))
        .output()
        .unwrap();
    succeeded(output);
    assert_eq!(ground.handed_on(), line);
    let read = |name: &str| std::fs::read_to_string(ground.sandbox.path("bin").join(name)).unwrap();
    assert!(read("environment").lines().any(|line| line == "_OCI_X=1"));
    assert_eq!(Path::new(read("cwd").trim_end()), ground.sandbox.path("root"));
    assert_eq!(read("fd7"), "through descriptor 7");
}

#[test]
fn the_exit_code_is_the_runtimes() {
    let ground = Ground::new();
    std::fs::write(ground.sandbox.path("bin/fail"), "").unwrap();
    assert_eq!(ground.run(&["state", "c1"]).status.code(), Some(1));
}

#[test]
fn a_bundle_that_is_used_again_gets_one_slice() {
    let ground = Ground::new();
    let bundle = ground.bundle(asked());
    succeeded(ground.create(&bundle));
    let first = slice_of(&config(&bundle));
    // The first runtime is gone and nobody claimed its slice.
    succeeded(ground.create(&bundle));
    let second = slice_of(&config(&bundle));
    assert_ne!(first, second);
    let slices = ground.sandbox.slices();
    assert_eq!(slices.len(), 1, "{slices:?}");
    assert_eq!(slices[0]["id"], second);
    // A person removes it; the bundle is used once more.
    succeeded(ground.sandbox.run(&["slice", "delete", &second]));
    succeeded(ground.create(&bundle));
    assert_eq!(ground.sandbox.slices().len(), 1);
}

#[test]
fn delete_releases_what_no_poststop_hook_released() {
    let ground = Ground::new();
    let bundle = ground.bundle(asked());
    succeeded(ground.create(&bundle));
    succeeded(ground.run(&["delete", "other"]));
    assert_eq!(ground.sandbox.slices().len(), 1);
    succeeded(ground.run(&["--root", "/r", "delete", "--force", "c1"]));
    assert!(ground.sandbox.slices().is_empty());
    assert_eq!(ground.handed_on(), ["--root", "/r", "delete", "--force", "c1"]);
}

#[test]
fn a_refusal_is_one_line_for_people_and_for_the_engine() {
    let ground = Ground::new();
    let bundle = ground.bundle(json!({"sdg.memory": "900Gi"}));
    let before = std::fs::read(bundle.join("config.json")).unwrap();
    let log = ground.sandbox.path("log.json");
    let output = ground.run(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "create",
        "--bundle",
        bundle.to_str().unwrap(),
        "c1",
    ]);
    let line = complaint(&output);
    assert!(line.contains("900Gi"), "{line}");
    let logged: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(logged, json!({"level": "error", "msg": line}));
    assert!(ground.handed_on().is_empty(), "the runtime was called");
    assert!(ground.sandbox.slices().is_empty());
    assert_eq!(std::fs::read(bundle.join("config.json")).unwrap(), before);
}

#[test]
fn the_real_runtime_is_never_sdg_itself() {
    let ground = Ground::new();
    let own = env!("CARGO_BIN_EXE_sdg");
    ground.sandbox.configure(&format!("runtime = {own:?}\n"));
    assert!(complaint(&ground.run(&["state", "c1"])).contains("is sdg itself"));
    ground.sandbox.configure("");
    let first = ground.sandbox.path("first");
    std::fs::create_dir(&first).unwrap();
    std::os::unix::fs::symlink(own, first.join("runc")).unwrap();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        first.display(),
        ground.sandbox.path("bin").display()
    );
    succeeded(
        ground
            .command(&["state", "c1"])
            .env("PATH", &path)
            .output()
            .unwrap(),
    );
    assert_eq!(ground.handed_on(), ["state", "c1"]);
    let nowhere = ground
        .command(&["state", "c1"])
        .env("PATH", &first)
        .output()
        .unwrap();
    assert!(complaint(&nowhere).contains("no runc or crun in PATH"));
}

#[test]
fn the_programs_other_name_is_the_runtime() {
    let ground = Ground::new();
    let name = ground.sandbox.path("sdg-runtime");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sdg"), &name).unwrap();
    let path = format!("{}:/usr/bin:/bin", ground.sandbox.path("bin").display());
    succeeded(
        Command::new(&name)
            .arg("--version")
            .env("PATH", path)
            .output()
            .unwrap(),
    );
    assert_eq!(ground.handed_on(), ["--version"]);
}
