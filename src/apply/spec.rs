//! Edits → spec.
//!
//! ```text
//! spec ─ claims: already ours? ─ conflicts ─→ apply: devices, rules, mounts, environment, groups, hooks
//! ```

use std::path::Path;

use oci_spec::OciSpecError;
use oci_spec::runtime::{HookBuilder, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceType, MountBuilder};
use serde_json::Value;

use crate::apply::seccomp::{self, SeccompError};
use crate::edits::{BindMount, ContainerEdits, HookCall, HookStage};
use crate::inventory::DeviceFile;
use crate::oci::config::{ConfigError, Spec};

/// Why edits were not made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The spec is not as the specification says.
    #[error(transparent)]
    Spec(#[from] ConfigError),
    /// The seccomp profile.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// A part that cannot be made.
    #[error("edit of the container's config: {0}")]
    Part(#[from] OciSpecError),
    /// A part that cannot be written.
    #[error("edit of the container's config: {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes the edits.
pub fn apply(edits: &ContainerEdits, spec: &mut Spec) -> Result<(), ApplyError> {
    for device in &edits.devices {
        add_device(device, spec)?;
    }
    if let Some(sys) = &edits.sys {
        replace_sys(sys, spec)?;
    }
    for mount in &edits.mounts {
        add_mount(mount, spec)?;
    }
    set_environment(edits, spec)?;
    add_groups(&edits.groups, spec)?;
    for hook in &edits.hooks {
        add_hook(hook, spec)?;
    }
    if let Some(guard) = &edits.guard {
        seccomp::apply(guard, &edits.slice, spec)?;
    }
    if !edits.unified.is_empty() {
        let unified = spec.object_mut("linux.resources.unified")?;
        for (file, value) in &edits.unified {
            unified.insert(file.clone(), Value::from(value.as_str()));
        }
    }
    Ok(())
}

/// A device that the spec has already (`--device /dev/kfd`) is not listed twice; its rule comes last, so that it holds.
fn add_device(device: &DeviceFile, spec: &mut Spec) -> Result<(), ApplyError> {
    let entry = LinuxDeviceBuilder::default()
        .path(&device.path)
        .typ(LinuxDeviceType::C)
        .major(device.major)
        .minor(device.minor)
        .file_mode(device.mode)
        .uid(device.uid)
        .gid(device.gid)
        .build()?;
    let rule = LinuxDeviceCgroup::from(&entry);
    let devices = spec.list_mut("linux.devices")?;
    let path = device.path.to_str();
    if !devices
        .iter()
        .any(|there| there.get("path").and_then(Value::as_str) == path)
    {
        devices.push(serde_json::to_value(entry)?);
    }
    let rule = serde_json::to_value(rule)?;
    let rules = spec.list_mut("linux.resources.devices")?;
    if !rules.contains(&rule) {
        rules.push(rule);
    }
    Ok(())
}

/// In the place of the mount of sysfs, since later ones (the cgroups) lie on it.
fn replace_sys(source: &Path, spec: &mut Spec) -> Result<(), ApplyError> {
    let options = ["bind", "ro", "nosuid", "noexec", "nodev"].map(str::to_owned);
    let mount = MountBuilder::default()
        .destination("/sys")
        .typ("bind")
        .source(source)
        .options(options)
        .build()?;
    let mount = serde_json::to_value(mount)?;
    let mounts = spec.list_mut("mounts")?;
    match mounts.iter_mut().find(|mount| is_on(mount, Path::new("/sys"))) {
        Some(there) => *there = mount,
        None => mounts.push(mount),
    }
    Ok(())
}

fn is_on(mount: &Value, target: &Path) -> bool {
    let destination = mount.get("destination").and_then(Value::as_str);
    destination.is_some_and(|destination| Path::new(destination) == target)
}

/// At the end of the list, so that no other mount lies over it; one that was on the same file goes.
fn add_mount(mount: &BindMount, spec: &mut Spec) -> Result<(), ApplyError> {
    let access = if mount.read_only { "ro" } else { "rw" };
    let options = ["bind", "private", access, "nosuid", "nodev"].map(str::to_owned);
    let entry = MountBuilder::default()
        .destination(&mount.target)
        .typ("bind")
        .source(&mount.source)
        .options(options)
        .build()?;
    let mounts = spec.list_mut("mounts")?;
    mounts.retain(|there| !is_on(there, &mount.target));
    mounts.push(serde_json::to_value(entry)?);
    Ok(())
}

fn set_environment(edits: &ContainerEdits, spec: &mut Spec) -> Result<(), ApplyError> {
    let names: Vec<&str> = edits.env.iter().map(|(name, _)| name.as_str()).collect();
    let env = spec.list_mut("process.env")?;
    env.retain(|entry| {
        let name = entry
            .as_str()
            .map(|entry| entry.split('=').next().unwrap_or_default());
        name.is_none_or(|name| !names.contains(&name) && !is_unwanted(edits, name))
    });
    env.extend(
        edits
            .env
            .iter()
            .map(|(name, value)| Value::from(format!("{name}={value}"))),
    );
    Ok(())
}

/// The first variable of a spec that the edits would have removed.
pub fn unwanted_variable<'a>(edits: &ContainerEdits, spec: &'a Spec) -> Option<&'a str> {
    let entries = spec.list("/process/env").iter().filter_map(Value::as_str);
    let mut names = entries.map(|entry| entry.split('=').next().unwrap_or_default());
    names.find(|name| is_unwanted(edits, name))
}

/// Whether a variable leads past the slice.
pub fn is_unwanted(edits: &ContainerEdits, name: &str) -> bool {
    edits.unset_env.iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn add_groups(groups: &[u32], spec: &mut Spec) -> Result<(), ApplyError> {
    if groups.is_empty() {
        return Ok(());
    }
    let list = spec.list_mut("process.user.additionalGids")?;
    for gid in groups {
        let gid = Value::from(*gid);
        if !list.contains(&gid) {
            list.push(gid);
        }
    }
    Ok(())
}

/// Claiming comes before other hooks of the stage: nothing of theirs should run for a container that is refused.
fn add_hook(hook: &HookCall, spec: &mut Spec) -> Result<(), ApplyError> {
    let entry = HookBuilder::default()
        .path(&hook.path)
        .args(hook.args.clone())
        .env(hook.env.clone())
        .build()?;
    let list = match hook.stage {
        HookStage::CreateRuntime => spec.list_mut("hooks.createRuntime")?,
        HookStage::CreateContainer => spec.list_mut("hooks.createContainer")?,
        HookStage::Poststop => spec.list_mut("hooks.poststop")?,
    };
    list.insert(0, serde_json::to_value(entry)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::claims::Claims;
    use serde_json::json;

    fn edits() -> ContainerEdits {
        let device = |path: &str, major, minor| DeviceFile {
            path: path.into(),
            major,
            minor,
            mode: 0o660,
            uid: 0,
            gid: 104,
        };
        let hook = |stage: HookStage| HookCall {
            stage,
            path: "/usr/bin/sdg".into(),
            args: ["sdg", "hook", stage.verb(), "--slice", "0123456789ab"]
                .map(str::to_owned)
                .to_vec(),
            env: vec!["PATH=/usr/bin:/bin".to_owned()],
        };
        ContainerEdits {
            slice: "0123456789ab".to_owned(),
            devices: vec![
                device("/dev/kfd", 511, 0),
                device("/dev/dri/renderD128", 226, 128),
            ],
            sys: Some("/simulated/sys".into()),
            mounts: vec![BindMount {
                source: "/run/sdg/slices/0123456789ab/preload".into(),
                target: "/etc/ld.so.preload".into(),
                read_only: true,
            }],
            env: vec![("ROC_GLOBAL_CU_MASK".to_owned(), "0xff".to_owned())],
            unset_env: vec!["HSA_MODEL_*".to_owned(), "HSA_CU_MASK_SKIP_INIT".to_owned()],
            groups: vec![104],
            hooks: vec![hook(HookStage::CreateRuntime), hook(HookStage::Poststop)],
            unified: Vec::new(),
            guard: None,
        }
    }

    fn edited(spec: Value) -> Value {
        let mut spec = Spec::parse(spec.to_string().as_bytes()).unwrap();
        apply(&edits(), &mut spec).unwrap();
        serde_json::from_slice(&spec.to_json()).unwrap()
    }

    #[test]
    fn sysfs_is_replaced_where_it_was_and_files_come_last() {
        let spec = json!({"mounts": [
            {"destination": "/etc/ld.so.preload", "source": "/x", "type": "bind"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
        ]});
        let spec = edited(spec);
        let mounts: Vec<(&str, &str)> = spec["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| {
                (
                    mount["destination"].as_str().unwrap(),
                    mount["source"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            mounts,
            [
                ("/sys", "/simulated/sys"),
                ("/sys/fs/cgroup", "cgroup"),
                ("/etc/ld.so.preload", "/run/sdg/slices/0123456789ab/preload"),
            ]
        );
        assert_eq!(
            spec["mounts"][2]["options"],
            json!(["bind", "private", "ro", "nosuid", "nodev"])
        );
    }

    #[test]
    fn devices_that_are_there_stay_single_and_get_a_rule() {
        let spec = json!({"linux": {"devices": [{"path": "/dev/kfd", "type": "c", "major": 511, "minor": 0}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]}}});
        let spec = edited(spec);
        let paths: Vec<&Value> = spec["linux"]["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| &device["path"])
            .collect();
        assert_eq!(paths, ["/dev/kfd", "/dev/dri/renderD128"]);
        let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(
            rules[2],
            json!({"allow": true, "type": "c", "major": 226, "minor": 128, "access": "rwm"})
        );
    }

    #[test]
    fn environment_groups_and_hooks() {
        let spec = json!({
            "process": {"env": ["HSA_MODEL_LIB=/x", "HSA_CU_MASK_SKIP_INIT=1", "ROC_GLOBAL_CU_MASK=0x1", "A=HSA_MODEL_X"],
                "user": {"uid": 0, "additionalGids": [104, 7]}},
            "hooks": {"createRuntime": [{"path": "/other"}]},
        });
        let spec = edited(spec);
        assert_eq!(
            spec["process"]["env"],
            json!(["A=HSA_MODEL_X", "ROC_GLOBAL_CU_MASK=0xff"])
        );
        assert_eq!(spec["process"]["user"]["additionalGids"], json!([104, 7]));
        assert_eq!(spec["hooks"]["createRuntime"][0]["path"], "/usr/bin/sdg");
        assert_eq!(spec["hooks"]["createRuntime"][1]["path"], "/other");
        assert_eq!(spec["hooks"]["poststop"][0]["env"], json!(["PATH=/usr/bin:/bin"]));
    }

    #[test]
    fn an_edited_spec_is_known_again() {
        let spec = Spec::parse(edited(json!({})).to_string().as_bytes()).unwrap();
        assert_eq!(Claims::of(&spec).slices, ["0123456789ab"]);
    }
}
