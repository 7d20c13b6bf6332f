//! Whether a container that is about to start has what its slice needs: what a hook finds in the kernel, not what a
//! spec promised.
//!
//! ```text
//! createRuntime:           config.json: devices, mounts, hooks          ┐
//!                          device cgroup: granted devices, no other GPU ├→ first thing that is missing
//! there or createContainer: mounts: our files                           ┘
//! ```
//!
//! Mounts wait for the second stage unless the runtime is known to be runc, which has made them at the first one; crun
//! has not. That they are read-only is asked of the spec: crun makes them so after its hooks (seen with 1.28).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use pathrs::Root;
use serde_json::Value;

use crate::apply::device_rule::DeviceRule;
use crate::apply::seccomp;
use crate::cgroups::v1_devices_file;
use crate::coverage::library::{self, Unfit};
use crate::edits::{self, BindMount, ContainerEdits, HookStage};
use crate::files::reopened;
use crate::oci::beneath::{self, LastLink};
use crate::oci::config::Spec;

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum NotInForce {
    /// The bundle's config or its root file system cannot be read.
    #[error("read {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine dropped one of the edits.
    #[error("the engine left {what} out of the container's config")]
    Dropped {
        /// Which.
        what: String,
    },
    /// A file is not where it should be.
    #[error("{} in the container is not {}: {reason}", target.display(), source_path.display())]
    Mount {
        /// In the container.
        target: PathBuf,
        /// On the host.
        source_path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Not every program of the container can load the shim.
    #[error("{}: the container's programs would run without a limit: {reason} ({})", path.display(), reason.mend(path))]
    Shim {
        /// On the host.
        path: PathBuf,
        /// Why, and what to do.
        reason: Unfit,
    },
    /// The kernel does not limit its memory.
    #[error("the kernel does not limit the container's memory: {reason}")]
    Memory {
        /// Why.
        reason: String,
    },
    /// The device cgroup lets too little through, or too much.
    #[error("the container's device cgroup {reason}")]
    Cgroup {
        /// What is wrong.
        reason: String,
    },
}

/// The bundle's config.json.
pub fn read_spec(bundle: &Path) -> Result<Spec, NotInForce> {
    let path = bundle.join("config.json");
    let failed = |reason: String| NotInForce::Config {
        path: path.clone(),
        reason,
    };
    let text = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    Spec::parse(&text).map_err(|error| failed(error.to_string()))
}

/// Checks the spec that the runtime works from. The claiming hook is there: it is what runs now.
pub fn check_spec(edits: &ContainerEdits, spec: &Spec) -> Result<(), NotInForce> {
    let has = |pointer: &'static str, key: &str, value: &Path| {
        let text = value.to_str();
        spec.list(pointer)
            .iter()
            .any(|entry| entry.get(key).and_then(Value::as_str) == text)
    };
    let dropped = |what: String| Err(NotInForce::Dropped { what });
    for device in &edits.devices {
        if !has("/linux/devices", "path", &device.path) {
            return dropped(format!("device {}", device.path.display()));
        }
    }
    for mount in &edits.mounts {
        if !has("/mounts", "destination", &mount.target) {
            return dropped(format!("mount {}", mount.target.display()));
        }
        if mount.read_only && !is_read_only(spec, &mount.target) {
            return dropped(format!("read-only of mount {}", mount.target.display()));
        }
    }
    if let Some(guard) = &edits.guard
        && !seccomp::is_applied(guard, &edits.slice, spec)
    {
        return dropped("the guard's seccomp rules".to_owned());
    }
    for (pointer, stage) in [
        ("/hooks/createContainer", HookStage::CreateContainer),
        ("/hooks/poststop", HookStage::Poststop),
    ] {
        let is_there = !edits.has_hook(stage)
            || spec
                .list(pointer)
                .iter()
                .any(|hook| is_own(hook, stage, &edits.slice));
        if !is_there {
            return dropped(format!("hook {}", stage.key()));
        }
    }
    Ok(())
}

/// Whether the last mount on a path, which is the one that shows, is read-only.
fn is_read_only(spec: &Spec, target: &Path) -> bool {
    let on_target = |mount: &&Value| mount.get("destination").and_then(Value::as_str) == target.to_str();
    let mount = spec.list("/mounts").iter().rfind(on_target);
    let options = mount.and_then(|mount| mount.get("options")?.as_array());
    options.is_some_and(|options| options.contains(&Value::from("ro")))
}

fn is_own(hook: &Value, stage: HookStage, slice: &str) -> bool {
    let args = hook.get("args").and_then(Value::as_array);
    args.is_some_and(|args| args.contains(&Value::from(stage.verb())) && args.contains(&Value::from(slice)))
}

/// A container's root file system as its own mount namespace has it, before it changes its root.
pub fn root_from_inside(rootfs: &Path) -> Result<Root, NotInForce> {
    beneath::root(rootfs).map_err(|error| unreadable(rootfs, &error))
}

/// The same by way of a process of that namespace. The links on the way to it are looked up there too.
pub fn root_of_process(pid: i32, rootfs: &Path) -> Result<Root, NotInForce> {
    // With a slash at its end the link is followed.
    let namespace = beneath::root(Path::new(&format!("/proc/{pid}/root/")));
    let found = namespace.and_then(|namespace| beneath::look(&namespace, rootfs, LastLink::Followed));
    match found {
        Ok(Some(root)) => Ok(Root::from_fd(root)),
        Ok(None) => Err(unreadable(rootfs, &Errno::ENOENT.into())),
        Err(error) => Err(unreadable(rootfs, &error)),
    }
}

fn unreadable(rootfs: &Path, error: &std::io::Error) -> NotInForce {
    NotInForce::Config {
        path: rootfs.to_owned(),
        reason: error.to_string(),
    }
}

/// Checks a container's mounts.
pub fn check_mounts(edits: &ContainerEdits, root: &Root) -> Result<(), NotInForce> {
    edits.places().try_for_each(|place| check_mount(&place, root))
}

fn check_mount(mount: &BindMount, root: &Root) -> Result<(), NotInForce> {
    let wrong = |reason: String| NotInForce::Mount {
        target: mount.target.clone(),
        source_path: mount.source.clone(),
        reason,
    };
    let expected = std::fs::metadata(&mount.source).map_err(|error| wrong(error.to_string()))?;
    // Resolved as the container's programs will, links of the image included.
    let found = beneath::look(root, &mount.target, LastLink::Followed)
        .and_then(|found| found.ok_or_else(|| std::io::Error::from(Errno::ENOENT)))
        .map_err(|error| wrong(error.to_string()))?;
    let metadata = found.metadata().map_err(|error| wrong(error.to_string()))?;
    if (metadata.dev(), metadata.ino()) != (expected.dev(), expected.ino()) {
        return Err(wrong("another file is there".to_owned()));
    }
    if !edits::is_shim(mount) {
        return Ok(());
    }
    // Of a slice that was made beforehand the shim may have been another one then.
    let checked = reopened(&found).map_err(Unfit::from);
    checked
        .and_then(|shim| library::check(&shim))
        .map_err(|reason| NotInForce::Shim {
            path: mount.source.clone(),
            reason,
        })
}

/// Checks cgroup v1's list of devices. On v2 the rules are a program in the kernel that cannot be read back.
pub fn check_devices(edits: &ContainerEdits, pid: i32, cgroups: &Path) -> Result<(), NotInForce> {
    let path = format!("/proc/{pid}/cgroup");
    let wrong = |reason: String| NotInForce::Cgroup { reason };
    let lines =
        std::fs::read_to_string(&path).map_err(|error| wrong(format!("is unknown: read {path}: {error}")))?;
    let Some(cgroup) = v1_devices(&lines) else {
        return Ok(());
    };
    let list = v1_devices_file(cgroups, cgroup, "devices.list");
    let text = std::fs::read_to_string(&list)
        .map_err(|error| wrong(format!("is unknown: read {}: {error}", list.display())))?;
    let rules: Vec<DeviceRule> = text.lines().filter_map(DeviceRule::from_cgroup).collect();
    if let Some(rule) = rules.iter().find(|rule| rule.reaches_past(&edits.devices)) {
        return Err(wrong(format!(
            "lets it reach GPUs that are not of its slice (rule \"{rule}\")"
        )));
    }
    let missing = edits
        .devices
        .iter()
        .find(|device| !rules.iter().any(|rule| rule.is_of(device)));
    match missing {
        Some(device) => Err(wrong(format!("does not let it open {}", device.path.display()))),
        None => Ok(()),
    }
}

/// The path in the hierarchy of the controller `devices`: lines of `<id>:<controllers>:<path>`.
pub(super) fn v1_devices(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        controllers
            .split(',')
            .any(|controller| controller == "devices")
            .then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_counts_as_read_only_by_the_last_one_on_its_path() {
        let mount =
            |options: &[&str]| serde_json::json!({"destination": "/run/sdg/limits", "options": options});
        let is_read_only = |mounts: &[Value]| {
            let spec = serde_json::json!({"mounts": mounts}).to_string();
            super::is_read_only(
                &Spec::parse(spec.as_bytes()).unwrap(),
                Path::new("/run/sdg/limits"),
            )
        };
        assert!(is_read_only(&[mount(&["bind", "ro"])]));
        assert!(is_read_only(&[mount(&["bind", "rw"]), mount(&["bind", "ro"])]));
        assert!(!is_read_only(&[mount(&["bind"])]));
        assert!(!is_read_only(&[mount(&["bind", "ro"]), mount(&["bind", "rw"])]));
        assert!(!is_read_only(&[]));
    }

    #[test]
    fn a_shim_that_was_spoiled_after_its_slice_was_made_is_found() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let (source, rootfs) = (dir.path().join("libsdg.so"), dir.path().join("rootfs"));
        std::fs::create_dir_all(rootfs.join("run/sdg")).unwrap();
        std::fs::write(&source, library::stand_in::library("ioctl")).unwrap();
        // As a bind mount: the same file.
        std::fs::hard_link(&source, rootfs.join("run/sdg/libsdg.so")).unwrap();
        let mount = BindMount {
            source: source.clone(),
            target: edits::SHIM_TARGET.into(),
            read_only: true,
        };
        let check =
            || check_mount(&mount, &beneath::root(&rootfs).unwrap()).map_err(|error| error.to_string());
        assert_eq!(check(), Ok(()));
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o640)).unwrap();
        let said = check().unwrap_err();
        assert!(
            said.contains("without a limit") && said.contains("chmod o+r /"),
            "{said}"
        );
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&source, "").unwrap();
        assert!(check().unwrap_err().contains("it is empty"));
    }

    #[test]
    fn the_shim_is_where_the_list_says_and_not_only_where_it_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        for directory in ["run/sdg/libasan.so", "elsewhere"] {
            std::fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        let mount = |name: &str, target: &str| {
            let source = dir.path().join(name);
            std::fs::write(&source, library::stand_in::library("ioctl")).unwrap();
            std::fs::hard_link(&source, rootfs.join(&target[1..])).unwrap();
            BindMount {
                source,
                target: target.into(),
                read_only: true,
            }
        };
        let edits = |mounts: Vec<BindMount>| -> ContainerEdits {
            serde_json::from_value(serde_json::json!({
                "slice": "", "devices": [], "sys": null, "mounts": mounts, "env": [], "unset_env": [], "groups": [],
                "hooks": [], "unified": [],
            }))
            .unwrap()
        };
        let shim = mount("libsdg.so", edits::SHIM_TARGET);
        let detour = mount("preload", edits::DETOUR_TARGET);
        let check = |mounts| check_mounts(&edits(mounts), &beneath::root(&rootfs).unwrap());
        check(vec![shim.clone(), detour.clone()]).unwrap();
        // An image's own link: the mount is where it leads, and the list leads past the shim.
        std::fs::rename(
            rootfs.join("run/sdg/libasan.so/preload"),
            rootfs.join("elsewhere/preload"),
        )
        .unwrap();
        std::fs::remove_dir(rootfs.join("run/sdg/libasan.so")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", rootfs.join("run/sdg/libasan.so")).unwrap();
        let said = check(vec![shim.clone(), detour]).unwrap_err().to_string();
        assert!(said.contains(edits::SHIM_LISTED), "{said}");
        // As an earlier version made it, without a detour.
        check(vec![shim]).unwrap();
    }

    #[test]
    fn the_controller_is_found_among_others() {
        let text = "12:pids:/a\n6:cpu,devices:/pod/x:y\n0::/b\n";
        assert_eq!(v1_devices(text), Some("/pod/x:y"));
        assert_eq!(v1_devices("0::/b\n"), None);
    }
}
