//! CDI files of simulated nodes: names, lowest version, what is stale, named slices, and how names and annotations go
//! together. The hooks are called as runtimes call them, with a state on stdin.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

mod support {
    pub mod sandbox;
}

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::{Value, json};
use support::sandbox::{Sandbox, complaint, stderr};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names(spec: &Value) -> Vec<&str> {
    let devices = spec["devices"].as_array().unwrap();
    devices
        .iter()
        .map(|device| device["name"].as_str().unwrap())
        .collect()
}

fn device<'a>(spec: &'a Value, name: &str) -> &'a Value {
    let devices = spec["devices"].as_array().unwrap();
    &devices.iter().find(|device| device["name"] == name).unwrap()["containerEdits"]
}

fn nodes(edits: &Value) -> Vec<&str> {
    let nodes = edits["deviceNodes"].as_array().unwrap();
    nodes.iter().map(|node| node["path"].as_str().unwrap()).collect()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

/// A process that stands for a container's first one, and a bundle with its config.
struct Container {
    name: &'static str,
    process: Child,
    bundle: PathBuf,
    /// Where the process may open the slice's devices alone, of cgroup v1's devices controller.
    cgroup: Option<PathBuf>,
}

impl Container {
    /// With the edits of CDI devices put into its spec as an engine does it.
    fn new(sandbox: &Sandbox, name: &'static str, devices: &[&Value], annotations: &Value) -> Self {
        let mut spec = json!({
            "root": {"path": "/nonexistent"},
            "process": {"env": []}, "mounts": [],
            "hooks": {"createRuntime": [], "createContainer": [], "poststop": []},
            "linux": {"devices": [], "resources": {"devices": []}},
            "annotations": annotations,
        });
        let push = |spec: &mut Value, pointer: &str, value: Value| {
            spec.pointer_mut(pointer)
                .unwrap()
                .as_array_mut()
                .unwrap()
                .push(value);
        };
        for edits in devices {
            for node in edits["deviceNodes"].as_array().unwrap() {
                let rule = json!({"allow": true, "type": "c", "major": node["major"], "minor": node["minor"], "access": "rwm"});
                push(&mut spec, "/linux/devices", node.clone());
                push(&mut spec, "/linux/resources/devices", rule);
            }
            for hook in edits["hooks"].as_array().unwrap() {
                let stage = format!("/hooks/{}", hook["hookName"].as_str().unwrap());
                push(&mut spec, &stage, hook.clone());
            }
            for mount in edits["mounts"].as_array().into_iter().flatten() {
                push(
                    &mut spec,
                    "/mounts",
                    json!({"destination": mount["containerPath"], "source": mount["hostPath"], "options": mount["options"]}),
                );
            }
        }
        let bundle = sandbox.path(name);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        Self {
            name,
            process,
            bundle,
            cgroup: None,
        }
    }

    /// Puts the process where it may open the slice's devices alone, as a runtime does. Cgroup v2 keeps its device
    /// rules where nobody can look, and the hook does not.
    fn confine(&mut self, edits: &Value) {
        let controller = Path::new("/sys/fs/cgroup/devices");
        if !controller.exists() {
            return;
        }
        let cgroup = controller.join(format!("sdg-test-{}", self.process.id()));
        std::fs::create_dir(&cgroup).unwrap();
        let cgroup = self.cgroup.insert(cgroup);
        std::fs::write(cgroup.join("devices.deny"), "a").unwrap();
        for node in edits["deviceNodes"].as_array().unwrap() {
            let rule = format!("c {}:{} rwm", node["major"], node["minor"]);
            std::fs::write(cgroup.join("devices.allow"), rule).unwrap();
        }
        std::fs::write(cgroup.join("cgroup.procs"), self.process.id().to_string()).unwrap();
    }

    fn state(&self) -> Vec<u8> {
        let state = json!({"id": self.name, "pid": self.process.id(), "bundle": self.bundle});
        state.to_string().into_bytes()
    }

    /// Calls a hook as the file says.
    fn hook(&self, sandbox: &Sandbox, edits: &Value, stage: &str) -> Output {
        let hooks = edits["hooks"].as_array().unwrap();
        let hook = hooks.iter().find(|hook| hook["hookName"] == stage).unwrap();
        let args = hook["args"].as_array().unwrap();
        // The sandbox adds its own places, which the file names as well.
        let args: Vec<&str> = args.iter().skip(1).map(|arg| arg.as_str().unwrap()).collect();
        let end = args.iter().position(|arg| *arg == "--sysroot").unwrap();
        sandbox.run_with(&args[..end], &self.state())
    }

    fn start(&self, sandbox: &Sandbox, edits: &Value) -> Output {
        self.hook(sandbox, edits, "createRuntime")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        if let Some(cgroup) = &self.cgroup {
            // The kernel lets an empty cgroup go as soon as its last process is reaped.
            std::fs::remove_dir(cgroup).unwrap();
        }
    }
}

fn generated(sandbox: &Sandbox) -> Value {
    succeeded(&sandbox.run(&["cdi", "generate"]));
    read(&sandbox.path("root/etc/cdi/sdg-gpu.json"))
}

fn slice(sandbox: &Sandbox, name: &str, arguments: &[&str]) -> Value {
    succeeded(&sandbox.run(&[&["slice", "create", "--name", name][..], arguments].concat()));
    let spec = read(
        &sandbox
            .path("root/etc/cdi")
            .join(format!("sdg-slice-{name}.json")),
    );
    assert_eq!(spec["kind"], "sdg.exostellar.io/slice");
    device(&spec, name).clone()
}

#[test]
fn partitions_are_known_by_index_uuid_and_card_in_the_lowest_version() {
    let sandbox = Sandbox::new("mi300x-8-cpx", &[]);
    let spec = generated(&sandbox);
    assert_eq!(spec["cdiVersion"], "0.5.0");
    assert_eq!(spec["kind"], "sdg.exostellar.io/gpu");
    let gpus = sandbox.json(&["gpu", "list", "--json"]);
    let gpus = gpus.as_array().unwrap();
    let mut cards = std::collections::BTreeMap::<&str, usize>::new();
    for gpu in gpus {
        let node = gpu["render_node"].as_str().unwrap();
        for name in [gpu["index"].to_string().as_str(), gpu["uuid"].as_str().unwrap()] {
            assert_eq!(nodes(device(&spec, name)), ["/dev/kfd", node]);
        }
        *cards.entry(gpu["pci"].as_str().unwrap()).or_default() += 1;
    }
    for (card, partitions) in &cards {
        assert_eq!(nodes(device(&spec, card)).len(), 1 + partitions, "{card}");
    }
    assert_eq!(nodes(device(&spec, "all")).len(), 1 + gpus.len());
    assert_eq!(names(&spec).len(), 2 * gpus.len() + cards.len() + 1);
    succeeded(&sandbox.run(&["cdi", "validate"]));
    let listed = sandbox.json(&["cdi", "list", "--json"]);
    assert_eq!(listed[0]["device"], "sdg.exostellar.io/gpu=0");
}

#[test]
fn amds_kind_has_amds_names() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let directory = sandbox.path("elsewhere");
    let output = sandbox.run(&[
        "cdi",
        "generate",
        "--kind",
        "amd.com/gpu",
        "--output",
        directory.to_str().unwrap(),
    ]);
    succeeded(&output);
    let spec = read(&directory.join("sdg-amd.com-gpu.json"));
    assert_eq!(spec["kind"], "amd.com/gpu");
    for name in ["0", "7", "all"] {
        assert!(names(&spec).contains(&name));
    }
    let printed = sandbox.json(&["cdi", "generate", "--kind", "amd.com/gpu", "--output", "-"]);
    assert_eq!(printed, spec);
    assert!(
        complaint(&sandbox.run(&["cdi", "generate", "--kind", "nvidia.com/gpu"])).contains("amd.com/gpu")
    );
}

#[test]
fn a_named_slice_is_known_until_it_is_deleted() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let edits = slice(&sandbox, "llama", &["--memory", "20Gi", "--compute", "250m"]);
    let file = sandbox.path("root/etc/cdi/sdg-slice-llama.json");
    assert_eq!(read(&file)["cdiVersion"], "0.3.0");
    assert_eq!(nodes(&edits).len(), 2);
    let targets: Vec<&str> = edits["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["containerPath"].as_str().unwrap())
        .collect();
    assert!(targets.contains(&"/etc/ld.so.preload"), "{targets:?}");
    assert!(targets.contains(&"/run/sdg/libsdg.so"), "{targets:?}");
    // Each program is told by the shim.
    assert!(edits.get("env").is_none(), "{edits}");
    succeeded(&sandbox.run(&["cdi", "validate"]));
    succeeded(&sandbox.run(&["slice", "delete", "llama"]));
    assert!(!file.exists());
}

#[test]
fn refresh_writes_what_is_missing_or_stale_and_nothing_else() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let directory = sandbox.path("root/etc/cdi");
    slice(&sandbox, "llama", &["--memory", "20Gi"]);
    let refresh = || {
        let output = sandbox.run(&["cdi", "refresh"]);
        succeeded(&output);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut files: Vec<String> = text
            .lines()
            .map(|line| line.rsplit('/').next().unwrap().to_owned())
            .collect();
        files.sort();
        files
    };
    assert_eq!(refresh(), ["sdg-gpu.json"]);
    assert!(refresh().is_empty());
    std::fs::write(directory.join("sdg-gpu.json"), "{}").unwrap();
    std::fs::remove_file(directory.join("sdg-slice-llama.json")).unwrap();
    std::fs::write(directory.join("sdg-slice-gone.json"), "{}").unwrap();
    std::fs::write(directory.join("nvidia.json"), "not ours").unwrap();
    assert!(complaint_of_several(&sandbox).contains("sdg-gpu.json: no CDI file of ours"));
    assert_eq!(
        refresh(),
        ["sdg-gpu.json", "sdg-slice-gone.json", "sdg-slice-llama.json"]
    );
    succeeded(&sandbox.run(&["cdi", "validate"]));
    assert!(directory.join("nvidia.json").exists());
}

fn complaint_of_several(sandbox: &Sandbox) -> String {
    let output = sandbox.run(&["cdi", "validate"]);
    assert!(!output.status.success());
    stderr(&output)
}

#[test]
fn whole_gpus_and_slices_keep_each_other_out() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let gpus = generated(&sandbox);
    let (zero, all) = (device(&gpus, "0"), device(&gpus, "all"));
    let whole = Container::new(&sandbox, "whole", &[zero], &json!({}));
    succeeded(&whole.start(&sandbox, zero));
    // The same GPU by another name, in the same container, is the same claim.
    succeeded(&whole.start(&sandbox, zero));
    assert_eq!(sandbox.slices().len(), 1);
    let refused = sandbox.run(&["slice", "create", "--memory", "20Gi", "--gpu", "0"]);
    assert!(complaint(&refused).contains("GPU 0"), "{}", stderr(&refused));
    let second = Container::new(&sandbox, "second", &[zero], &json!({}));
    complaint(&second.start(&sandbox, zero));
    // Of several GPUs none is kept where one is taken.
    let greedy = Container::new(&sandbox, "greedy", &[all], &json!({}));
    complaint(&greedy.start(&sandbox, all));
    assert_eq!(sandbox.slices().len(), 1);
    succeeded(&whole.hook(&sandbox, zero, "poststop"));
    assert!(sandbox.slices().is_empty());
    succeeded(&greedy.start(&sandbox, all));
    assert_eq!(sandbox.slices().len(), 8);
}

#[test]
fn a_slice_on_the_gpu_keeps_a_whole_gpu_container_out() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let gpus = generated(&sandbox);
    slice(&sandbox, "llama", &["--memory", "20Gi"]);
    let zero = device(&gpus, "0");
    let whole = Container::new(&sandbox, "whole", &[zero], &json!({}));
    complaint(&whole.start(&sandbox, zero));
    assert_eq!(sandbox.slices().len(), 1);
}

#[test]
fn containers_join_a_named_slice_and_keep_it_from_being_deleted() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let edits = slice(&sandbox, "llama", &["--memory", "20Gi", "--compute", "250m"]);
    let asked = json!({"sdg.memory": "20480Mi", "sdg.exostellar.io/compute": "250m"});
    for (name, annotations) in [("one", json!({})), ("two", asked)] {
        let mut container = Container::new(&sandbox, name, &[&edits], &annotations);
        container.confine(&edits);
        succeeded(&container.start(&sandbox, &edits));
        let refused = complaint(&sandbox.run(&["slice", "delete", "llama"]));
        assert!(refused.contains(&format!("container {name}")), "{refused}");
        succeeded(&container.hook(&sandbox, &edits, "poststop"));
        assert_eq!(sandbox.slices().len(), 1, "a person's slice stays");
        drop(container);
    }
    succeeded(&sandbox.run(&["slice", "delete", "llama"]));
}

#[test]
fn names_and_annotations_that_do_not_go_together_are_refused() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let gpus = generated(&sandbox);
    let zero = device(&gpus, "0");
    let one = slice(&sandbox, "one", &["--memory", "20Gi", "--gpu", "1"]);
    let two = slice(&sandbox, "two", &["--memory", "10Gi", "--gpu", "1"]);
    let none = json!({});
    let other = json!({"sdg.memory": "30Gi"});
    let cases: [(&str, &[&Value], &Value, &str); 3] = [
        ("a", &[&one, &two], &none, "two slices"),
        ("b", &[&one, zero], &none, "whole GPUs"),
        ("c", &[&one], &other, "annotations ask for something else"),
    ];
    for (name, devices, annotations, reason) in cases {
        let container = Container::new(&sandbox, name, devices, annotations);
        let refused = complaint(&container.start(&sandbox, &one));
        assert!(refused.contains(reason), "{refused}");
        // Where the spec is edited the reason is given before anything is placed.
        if annotations != &none || name == "a" {
            let asks = if annotations == &none { &other } else { annotations };
            let mut config = read(&container.bundle.join("config.json"));
            config["annotations"] = asks.clone();
            let precreate = sandbox.run_with(&["hook", "precreate"], config.to_string().as_bytes());
            assert!(complaint(&precreate).contains(reason));
        }
    }
    let container = Container::new(&sandbox, "d", &[zero], &other);
    let config = std::fs::read(container.bundle.join("config.json")).unwrap();
    let refused = complaint(&sandbox.run_with(&["hook", "precreate"], &config));
    assert!(
        refused.contains("whole GPUs") && refused.contains("annotations"),
        "{refused}"
    );
    assert_eq!(sandbox.slices().len(), 2);
}

#[test]
fn a_way_past_a_named_slice_is_refused_when_a_container_joins() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let edits = slice(&sandbox, "llama", &["--memory", "20Gi", "--gpu", "1"]);
    let change = |name, pointer: &str, value: Value| {
        let container = Container::new(&sandbox, name, &[&edits], &json!({}));
        let path = container.bundle.join("config.json");
        let mut config = read(&path);
        config
            .pointer_mut(pointer)
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(value);
        std::fs::write(&path, config.to_string()).unwrap();
        complaint(&container.start(&sandbox, &edits))
    };
    let node = json!({"path": "/dev/dri/renderD128", "type": "c", "major": 226, "minor": 128});
    assert!(change("a", "/linux/devices", node).contains("renderD128"));
    assert!(change("b", "/process/env", json!("HSA_MODEL_LIB=/x")).contains("HSA_MODEL_LIB"));
}

#[test]
fn no_gpu_is_said_and_leaves_no_file() {
    let sandbox = Sandbox::new("mi300x", &[]);
    generated(&sandbox);
    std::fs::remove_dir_all(sandbox.path("root/sys/class/kfd")).ok();
    std::fs::remove_dir_all(sandbox.path("root/sys/devices/virtual/kfd")).ok();
    let output = sandbox.run(&["cdi", "generate"]);
    complaint(&output);
}
