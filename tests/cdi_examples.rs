//! The example files in cdi/ are what the program writes for a simulated MI300X, but for the places of the test. To
//! write them anew: `SDG_WRITE_EXAMPLES=1 cargo test --test cdi_examples`.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support {
    pub mod sandbox;
}

use std::path::Path;

use sdg::cdi::spec::CdiSpec;
use serde_json::Value;
use support::sandbox::{Sandbox, stderr};

/// As on a machine where sdg is installed: its paths, a slice's id, and no options for other places.
fn as_installed(sandbox: &Sandbox, text: &str, id: &str) -> Value {
    let program = std::fs::canonicalize(env!("CARGO_BIN_EXE_sdg")).unwrap();
    let state = sandbox.path("state");
    let shim = sandbox.path("libsdg.so");
    let mut text = text.to_owned();
    for (there, installed) in [
        (program.to_str().unwrap(), "/usr/bin/sdg"),
        (state.to_str().unwrap(), "/run/sdg"),
        (shim.to_str().unwrap(), "/usr/lib/sdg/libsdg.so"),
        (id, "0123456789ab"),
    ] {
        text = text.replace(there, installed);
    }
    let mut spec: Value = serde_json::from_str(&text).unwrap();
    for device in spec["devices"].as_array_mut().unwrap() {
        let edits = &mut device["containerEdits"];
        for hook in edits["hooks"].as_array_mut().unwrap() {
            let args = hook["args"].as_array_mut().unwrap();
            let places = args.iter().position(|arg| arg == "--sysroot").unwrap();
            args.truncate(places);
        }
        // The bind of a simulated node's /sys; a real one has the kernel's.
        if let Some(mounts) = edits["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["containerPath"] != "/sys");
        }
        if edits["mounts"].as_array().is_some_and(Vec::is_empty) {
            edits.as_object_mut().unwrap().remove("mounts");
        }
    }
    spec
}

fn check(name: &str, spec: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cdi").join(name);
    let text = CdiSpec::parse(spec.to_string().as_bytes())
        .unwrap()
        .to_json()
        .unwrap();
    if std::env::var_os("SDG_WRITE_EXAMPLES").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let example = std::fs::read(&path).unwrap();
    let example: Value = serde_json::from_slice(&example).unwrap();
    assert_eq!(&example, spec, "{name}");
}

#[test]
fn examples_are_what_the_program_writes() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let read = |name: &str| std::fs::read_to_string(sandbox.path("root/etc/cdi").join(name)).unwrap();
    let output = sandbox.run(&["cdi", "generate"]);
    assert!(output.status.success(), "{}", stderr(&output));
    check(
        "sdg-gpu.json",
        &as_installed(&sandbox, &read("sdg-gpu.json"), "none"),
    );
    let create = [
        "slice",
        "create",
        "--name",
        "llama",
        "--memory",
        "20Gi",
        "--compute",
        "250m",
        "--json",
    ];
    let slice = sandbox.json(&create);
    let id = slice["id"].as_str().unwrap();
    check(
        "sdg-slice-llama.json",
        &as_installed(&sandbox, &read("sdg-slice-llama.json"), id),
    );
}

#[test]
fn no_hook_file_that_cri_o_reads_has_a_stage_that_stops_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks.d/crio");
    // Source: CRI-O takes the stages of the runtime specification, and stops at any other.
    let accepted = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    let mut stages = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let hook: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        assert_eq!(hook["version"], "1.0.0");
        assert!(
            !hook["hook"]["env"].as_array().unwrap().is_empty(),
            "with none runc 1.1 gives the image's"
        );
        for stage in hook["stages"].as_array().unwrap() {
            assert!(accepted.contains(&stage.as_str().unwrap()), "{stage}");
            stages.push(stage.as_str().unwrap().to_owned());
        }
    }
    stages.sort();
    assert_eq!(stages, ["createContainer", "createRuntime", "poststop"]);
}
