//! Containers with a user namespace of their own. The createContainer hook runs in it and would have to read what is the
//! host's root's: it says no in every such container but one whose root is the host's, and what it says crun discards. So
//! they are refused before, where somebody reads the reason.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::oci::config::Spec;

/// Why a container cannot have its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a container with a user namespace of its own cannot have a slice here: the hook that looks whether the slice is in force \
     would run in it and may not read what it needs (leave out --userns, --uidmap and --gidmap, or use sdg-runtime with runc)"
)]
pub struct OwnUserNamespace;

/// Refuses a container by its spec if its createContainer hook would be nobody on the host.
pub fn check(spec: &Spec) -> Result<(), OwnUserNamespace> {
    match has_own(spec) && !is_root_outside(spec) {
        true => Err(OwnUserNamespace),
        false => Ok(()),
    }
}

/// Refuses it by its first process, as a createRuntime hook knows it. crun tells the hooks of such a container another bundle
/// than its own (`/`; seen with 1.8.1): there root is no better off. What cannot be read here the later looks miss.
pub fn check_process(pid: i32, bundle: &Path) -> Result<(), OwnUserNamespace> {
    let namespace =
        |process: &str| std::fs::metadata(format!("/proc/{process}/ns/user")).map(|file| file.ino());
    let (Ok(own), Ok(its)) = (namespace("self"), namespace(&pid.to_string())) else {
        return Ok(());
    };
    if own == its {
        return Ok(());
    }
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap_or_default();
    match maps_root_to_root(&map) && bundle.join("config.json").exists() {
        true => Ok(()),
        false => Err(OwnUserNamespace),
    }
}

/// Lines of inside, outside, count. Source: user_namespaces(7).
fn maps_root_to_root(map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace();
        (numbers.next(), numbers.next()) == (Some("0"), Some("0"))
    })
}

fn has_own(spec: &Spec) -> bool {
    let is_user = |namespace: &Value| namespace.get("type").and_then(Value::as_str) == Some("user");
    spec.list("/linux/namespaces").iter().any(is_user)
}

/// Whether uid 0 of the container is uid 0 outside. Of a namespace that is only joined the spec may not say: there the
/// hook has the word.
fn is_root_outside(spec: &Spec) -> bool {
    let number = |mapping: &Value, key: &str| mapping.get(key).and_then(Value::as_u64);
    let mappings = spec.list("/linux/uidMappings");
    let of_root = mappings
        .iter()
        .find(|mapping| number(mapping, "containerID") == Some(0));
    mappings.is_empty() || of_root.is_some_and(|mapping| number(mapping, "hostID") == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(namespaces: &[Value], mappings: &Value) -> Spec {
        let spec = json!({"linux": {"namespaces": namespaces, "uidMappings": mappings}});
        Spec::parse(spec.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_a_root_that_is_the_hosts_can_look_from_inside() {
        let user = [json!({"type": "mount"}), json!({"type": "user"})];
        let mapped = |host: u64| json!([{"containerID": 0, "hostID": host, "size": 5000}]);
        // keep-id: root of the container is an unprivileged id outside.
        let kept = json!([{"containerID": 0, "hostID": 1, "size": 1000}, {"containerID": 1000, "hostID": 0, "size": 1}]);
        let rootless_container = json!([{"containerID": 1000, "hostID": 0, "size": 1}]);
        let refused = |namespaces: &[Value], mappings: &Value| check(&spec(namespaces, mappings)).is_err();
        assert!(refused(&user, &mapped(100_000)));
        assert!(refused(&user, &kept) && refused(&user, &rootless_container));
        assert!(!refused(&user, &mapped(0)));
        assert!(!refused(&user, &Value::Null), "joined: the spec does not say");
        assert!(!refused(&user[..1], &mapped(100_000)), "none of its own");
    }

    #[test]
    fn a_process_of_this_namespace_is_no_stranger_whatever_is_said_of_its_bundle() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(check_process(own, Path::new("/")), Ok(()));
    }

    #[test]
    fn a_map_of_ids_says_who_root_is_outside() {
        assert!(maps_root_to_root("         0          0 4294967295\n"));
        assert!(maps_root_to_root("1000 5 1\n0 0 1\n"));
        assert!(!maps_root_to_root("         0     100000       5000\n") && !maps_root_to_root(""));
    }
}
