//! What a spec already has that reaches GPUs past its slice: refused, with what to do. Pure.
//!
//! ```text
//! spec, granted devices → the first way round them
//! ```

use std::path::Path;

use serde_json::Value;

use crate::apply::device_rule::DeviceRule;
use crate::inventory::DeviceFile;
use crate::oci::config::Spec;

/// A way past the slice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Everything is allowed.
    #[error("the container is privileged and would reach every GPU: run it without --privileged")]
    Privileged,
    /// A device that is not the slice's.
    #[error(
        "the container has the device {path} ({major}:{minor}), which is not of its slice: leave it out, \
         the slice brings its own"
    )]
    Device {
        /// In the container.
        path: String,
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
    },
    /// Device files by a mount.
    #[error(
        "the container mounts {source_path} on {destination}, which brings GPUs that are not of its slice: leave it \
         out, the slice brings its own devices"
    )]
    Mount {
        /// On the host.
        source_path: String,
        /// In the container.
        destination: String,
    },
    /// A rule that is too wide.
    #[error(
        "the container's device rule \"{rule}\" reaches GPUs that are not of its slice: allow single devices only"
    )]
    Rule {
        /// As in the device cgroup.
        rule: String,
    },
}

/// The first way past the slice that a spec has, if any.
pub fn find(spec: &Spec, granted: &[DeviceFile]) -> Option<Conflict> {
    let devices = spec.list("/linux/devices").iter();
    let rules = spec.list("/linux/resources/devices").iter();
    let mounts = spec.list("/mounts").iter();
    privileged(spec)
        .or_else(|| {
            devices
                .filter_map(|device| foreign_device(device, granted))
                .next()
        })
        .or_else(|| mounts.filter_map(device_mount).next())
        .or_else(|| rules.filter_map(|rule| wide_rule(rule, granted)).next())
}

/// Podman says so by an annotation; what the word means for devices is a rule that [`wide_rule`] finds too.
fn privileged(spec: &Spec) -> Option<Conflict> {
    spec.annotations()
        .any(|(key, value)| key == "io.podman.annotations.privileged" && value.eq_ignore_ascii_case("true"))
        .then_some(Conflict::Privileged)
}

/// GPUs are character devices of DRM's major number, or the KFD's.
fn foreign_device(device: &Value, granted: &[DeviceFile]) -> Option<Conflict> {
    let path = device.get("path")?.as_str()?;
    let number = |key| device.get(key).and_then(Value::as_i64).unwrap_or(-1);
    let (major, minor) = (number("major"), number("minor"));
    let is_gpu = major == i64::from(sdg_abi::drm::MAJOR)
        || path == "/dev/kfd"
        || Path::new(path).starts_with("/dev/dri");
    let is_granted = granted
        .iter()
        .any(|own| (i64::from(own.major), i64::from(own.minor)) == (major, minor));
    (is_gpu && !is_granted).then(|| Conflict::Device {
        path: path.to_owned(),
        major,
        minor,
    })
}

/// A bind mount of GPU devices or of all devices, or one that hides where the slice's devices will be.
fn device_mount(mount: &Value) -> Option<Conflict> {
    let destination = mount.get("destination")?.as_str()?;
    let source = mount.get("source").and_then(Value::as_str).unwrap_or_default();
    let gpu = |path: &str| {
        let path = Path::new(path);
        path == Path::new("/dev/kfd") || path.starts_with("/dev/dri")
    };
    let is_bind = mount
        .get("type")
        .is_none_or(|kind| kind == "bind" || kind == "none")
        || options(mount).any(|option| option == "bind" || option == "rbind");
    let all = is_bind && matches!(source.trim_end_matches('/'), "/dev");
    (gpu(source) || gpu(destination) || all).then(|| Conflict::Mount {
        source_path: source.to_owned(),
        destination: destination.to_owned(),
    })
}

fn options(mount: &Value) -> impl Iterator<Item = &str> {
    let options = mount.get("options").and_then(Value::as_array);
    options.into_iter().flatten().filter_map(Value::as_str)
}

fn wide_rule(rule: &Value, granted: &[DeviceFile]) -> Option<Conflict> {
    let rule = DeviceRule::from_spec(rule);
    rule.reaches_past(granted).then(|| Conflict::Rule {
        rule: rule.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn granted() -> Vec<DeviceFile> {
        [("/dev/kfd", 511, 0), ("/dev/dri/renderD128", 226, 128)]
            .map(|(path, major, minor)| DeviceFile {
                path: path.into(),
                major,
                minor,
                mode: 0o660,
                uid: 0,
                gid: 44,
            })
            .to_vec()
    }

    fn conflict(spec: Value) -> Option<Conflict> {
        find(&Spec::parse(spec.to_string().as_bytes()).unwrap(), &granted())
    }

    fn device(path: &str, major: i64, minor: i64) -> Value {
        json!({"linux": {"devices": [{"path": path, "type": "c", "major": major, "minor": minor}]}})
    }

    fn rule(rule: Value) -> Value {
        json!({"linux": {"resources": {"devices": [rule]}}})
    }

    #[test]
    fn what_engines_write_by_themselves_is_no_conflict() {
        assert_eq!(conflict(json!({})), None);
        for harmless in [
            json!({"allow": false, "access": "rwm"}),
            json!({"allow": true, "type": "c", "access": "m"}),
            json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}),
            json!({"allow": true, "type": "b", "access": "rwm"}),
            json!({"allow": true, "type": "c", "major": 226, "minor": 128, "access": "rwm"}),
        ] {
            assert_eq!(conflict(rule(harmless.clone())), None, "{harmless}");
        }
        let tmpfs = json!({"mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]});
        assert_eq!(conflict(tmpfs), None);
    }

    #[test]
    fn devices_of_the_slice_may_be_there_and_others_not() {
        assert_eq!(conflict(device("/dev/kfd", 511, 0)), None);
        assert_eq!(conflict(device("/dev/dri/renderD128", 226, 128)), None);
        for (path, major, minor) in [
            ("/dev/dri/renderD136", 226, 136),
            ("/dev/dri/card0", 226, 0),
            ("/dev/innocent", 226, 136),
            ("/dev/kfd", 510, 0),
        ] {
            assert!(
                matches!(
                    conflict(device(path, major, minor)),
                    Some(Conflict::Device { .. })
                ),
                "{path}"
            );
        }
    }

    #[test]
    fn rules_that_reach_further_are_found() {
        for wide in [
            json!({"allow": true, "access": "rwm"}),
            json!({"allow": true, "type": "a", "access": "rwm"}),
            json!({"allow": true, "type": "c", "access": "rw"}),
            json!({"allow": true, "type": "c", "major": 226, "access": "r"}),
            json!({"allow": true, "type": "c", "major": 226, "minor": -1, "access": "w"}),
            json!({"allow": true, "type": "c", "major": 226, "minor": 136, "access": "rwm"}),
        ] {
            assert!(
                matches!(conflict(rule(wide.clone())), Some(Conflict::Rule { .. })),
                "{wide}"
            );
        }
    }

    #[test]
    fn mounts_of_devices_are_found() {
        for (source, destination) in [
            ("/dev/dri", "/dev/dri"),
            ("/dev/kfd", "/x"),
            ("/dev", "/host/dev"),
            ("/srv", "/dev/dri"),
        ] {
            let spec = json!({"mounts": [{"destination": destination, "type": "bind", "source": source}]});
            assert!(matches!(conflict(spec), Some(Conflict::Mount { .. })), "{source}");
        }
    }

    #[test]
    fn privileged_is_named() {
        let spec = json!({"annotations": {"io.podman.annotations.privileged": "TRUE"}});
        assert_eq!(conflict(spec), Some(Conflict::Privileged));
    }
}
