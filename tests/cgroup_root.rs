//! `--sysroot` is where cgroups are as well: what is read and written there is that root's, and the machine's stays as it is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::path::Path;

use sandbox::{Sandbox, stderr};
use sdg::apply::{in_force, live};
use sdg::edits::ContainerEdits;
use serde_json::{Value, json};

const CONFIG: &str = include_str!("fixtures/podman-4.3.1-config.json");
const GI: u64 = 1 << 30;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A slice for a container whose cgroup is `/pod/one`; the edited config, and what is to be in force.
fn placed(sandbox: &Sandbox) -> (Value, ContainerEdits) {
    let rootfs = sandbox.path("rootfs");
    image::fill(&rootfs);
    let mut config: Value = serde_json::from_str(CONFIG).unwrap();
    config["root"]["path"] = json!(rootfs);
    config["linux"]["cgroupsPath"] = json!("/pod/one");
    config["annotations"] = json!({"sdg.memory": "10Gi", "sdg.memoryLimit": "20Gi", "sdg.compute": "100m"});
    let output = sandbox.run_with(&["hook", "precreate"], config.to_string().as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    let id = sandbox.slices()[0]["id"].as_str().unwrap().to_owned();
    let edits = std::fs::read(sandbox.path("state/slices").join(id).join("edits.json")).unwrap();
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        serde_json::from_slice(&edits).unwrap(),
    )
}

#[test]
fn the_kernels_limit_is_that_of_the_roots_own_cgroups() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let pci = sandbox.json(&["gpu", "list", "--json"])[0]["pci"]
        .as_str()
        .unwrap()
        .to_owned();
    let cgroups = sandbox.path("root/sys/fs/cgroup");
    write(&cgroups.join("cgroup.controllers"), "cpu memory dmem pids\n");
    write(
        &cgroups.join("dmem.capacity"),
        &format!("drm/{pci}/vram 206141652992\n"),
    );
    for cgroup in ["", "pod"] {
        write(&cgroups.join(cgroup).join("cgroup.subtree_control"), "memory\n");
    }
    let (edited, _) = placed(&sandbox);
    assert_eq!(
        edited["linux"]["resources"]["unified"]["dmem.max"],
        format!("drm/{pci}/vram {}", 20 * GI)
    );
    assert_eq!(
        sandbox.slices()[0]["enforcement"],
        json!(["devices", "cooperative", "dmem"])
    );
    for cgroup in ["", "pod"] {
        let enabled = std::fs::read_to_string(cgroups.join(cgroup).join("cgroup.subtree_control"));
        assert_eq!(enabled.unwrap(), "+dmem", "{cgroup}");
    }
    // doctor sees the same.
    let report = String::from_utf8(sandbox.run(&["doctor"]).stdout).unwrap();
    assert!(
        report.contains("1 region(s) of device memory can be limited"),
        "{report}"
    );
}

#[test]
fn device_rules_are_read_and_written_in_the_roots_own_cgroups() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let (_, edits) = placed(&sandbox);
    let cgroups = sandbox.path("cgroups");
    let pid = i32::try_from(std::process::id()).unwrap();
    let lines = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = lines
        .lines()
        .find_map(|line| line.split_once(":devices:/"))
        .map(|(_, path)| path);
    let Some(own) = own else {
        // Version 2 alone: there is no list, and a hook has no way.
        in_force::check_devices(&edits, pid, &cgroups).unwrap();
        let error = live::allow_devices(&edits, pid, &cgroups)
            .unwrap_err()
            .to_string();
        assert!(error.contains("cgroup v2 takes device rules"), "{error}");
        return;
    };
    let directory = cgroups.join("devices").join(own);
    let error = in_force::check_devices(&edits, pid, &cgroups)
        .unwrap_err()
        .to_string();
    let list = directory.join("devices.list");
    assert!(error.contains(&format!("read {}", list.display())), "{error}");
    let rules: String = edits
        .devices
        .iter()
        .map(|device| format!("c {}:{} rwm\n", device.major, device.minor))
        .collect();
    write(&list, &rules);
    in_force::check_devices(&edits, pid, &cgroups).unwrap();
    live::allow_devices(&edits, pid, &cgroups).unwrap();
    let last = edits.devices.last().unwrap();
    assert_eq!(
        std::fs::read_to_string(directory.join("devices.allow")).unwrap(),
        format!("c {}:{} rwm", last.major, last.minor)
    );
}
