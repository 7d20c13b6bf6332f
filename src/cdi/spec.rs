//! A CDI file's content: what we use of it, the lowest version that understands it, and what is wrong with one.
//! Source: container-device-interface, SPEC.md, up to version 1.0.0.

use serde::{Deserialize, Serialize};

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiSpec {
    /// Version of the format.
    pub cdi_version: String,
    /// `<vendor>/<class>`.
    pub kind: String,
    /// Devices.
    pub devices: Vec<CdiDevice>,
}

/// A device that a container can ask for as `<kind>=<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiDevice {
    /// Name.
    pub name: String,
    /// What its container gets.
    pub container_edits: CdiEdits,
}

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiEdits {
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Device nodes; each with a rule in the device cgroup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<CdiNode>,
    /// Hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<CdiHook>,
    /// Bind mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<CdiMount>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiNode {
    /// In the container, and on the host.
    pub path: String,
    /// `c`.
    pub r#type: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits in the container.
    pub file_mode: u32,
    /// What the device cgroup allows.
    pub permissions: String,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiHook {
    /// Stage.
    pub hook_name: String,
    /// Program.
    pub path: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, all of it.
    pub env: Vec<String>,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiMount {
    /// On the host.
    pub host_path: String,
    /// In the container.
    pub container_path: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// What is wrong with a file's content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CdiError {
    /// Not a CDI file, or one with parts that we never write.
    #[error("no CDI file of ours: {0}")]
    Syntax(String),
    /// A version that does not understand the content, or none.
    #[error("cdiVersion {found:?}: this content needs {needed}")]
    Version {
        /// As written.
        found: String,
        /// Lowest.
        needed: &'static str,
    },
    /// A kind that is no kind.
    #[error("kind {0:?} is not VENDOR/CLASS (letters, digits, '-', '_' and, in the vendor, '.')")]
    Kind(String),
    /// Nothing in it.
    #[error("no devices")]
    Empty,
    /// A name that engines refuse.
    #[error("device name {0:?} (letters, digits, '-', '_', '.' and ':', a letter or digit at both ends)")]
    Name(String),
    /// A name twice.
    #[error("device {0:?} is there twice")]
    Twice(String),
    /// A path that is not absolute.
    #[error("device {device:?}: {path:?} is not an absolute path")]
    Relative {
        /// The device.
        device: String,
        /// The path.
        path: String,
    },
}

impl CdiSpec {
    /// A file of these devices, in the lowest version that understands them.
    pub fn new(kind: &str, devices: Vec<CdiDevice>) -> Self {
        let mut spec = Self {
            cdi_version: String::new(),
            kind: kind.to_owned(),
            devices,
        };
        spec.cdi_version = spec.needed_version().to_owned();
        spec
    }

    /// Reads and checks a file's text.
    pub fn parse(text: &[u8]) -> Result<Self, CdiError> {
        let spec: Self = serde_json::from_slice(text).map_err(|error| CdiError::Syntax(error.to_string()))?;
        spec.check()?;
        Ok(spec)
    }

    /// The lowest version that understands this. Of what later versions brought we use names that begin with a digit
    /// (0.5.0) and classes with a dot (0.6.0); mounts have no type (0.4.0), devices no path on the host of their own
    /// (0.5.0), and there are no supplementary groups (0.7.0), which Podman 4 would not understand.
    fn needed_version(&self) -> &'static str {
        let class = self.kind.rsplit('/').next().unwrap_or_default();
        let digit = |device: &CdiDevice| !device.name.starts_with(|first: char| first.is_ascii_alphabetic());
        if class.contains('.') {
            "0.6.0"
        } else if self.devices.iter().any(digit) {
            "0.5.0"
        } else {
            "0.3.0"
        }
    }

    /// Whether engines will take it.
    pub fn check(&self) -> Result<(), CdiError> {
        let needed = self.needed_version();
        if numbers(&self.cdi_version).is_none_or(|version| Some(version) < numbers(needed)) {
            return Err(CdiError::Version {
                found: self.cdi_version.clone(),
                needed,
            });
        }
        if !is_kind(&self.kind) {
            return Err(CdiError::Kind(self.kind.clone()));
        }
        if self.devices.is_empty() {
            return Err(CdiError::Empty);
        }
        let mut seen = std::collections::HashSet::new();
        for device in &self.devices {
            if !is_name(&device.name, "-_.:") {
                return Err(CdiError::Name(device.name.clone()));
            }
            if !seen.insert(&device.name) {
                return Err(CdiError::Twice(device.name.clone()));
            }
            if let Some(path) = device.container_edits.paths().find(|path| !path.starts_with('/')) {
                return Err(CdiError::Relative {
                    device: device.name.clone(),
                    path: path.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// As it is written.
    pub fn to_json(&self) -> Result<Vec<u8>, CdiError> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| CdiError::Syntax(error.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }
}

impl CdiEdits {
    fn paths(&self) -> impl Iterator<Item = &str> {
        let nodes = self.device_nodes.iter().map(|node| node.path.as_str());
        let hooks = self.hooks.iter().map(|hook| hook.path.as_str());
        let mounts = self.mounts.iter();
        let mounts = mounts.flat_map(|mount| [mount.host_path.as_str(), mount.container_path.as_str()]);
        nodes.chain(hooks).chain(mounts)
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

fn is_kind(kind: &str) -> bool {
    let Some((vendor, class)) = kind.split_once('/') else {
        return false;
    };
    is_name(vendor, "-_.") && is_name(class, "-_.")
}

fn is_name(name: &str, inside: &str) -> bool {
    let ends = |byte: Option<char>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    ends(name.chars().next())
        && ends(name.chars().last())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || inside.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, names: &[&str]) -> CdiSpec {
        let device = |name: &&str| CdiDevice {
            name: (*name).to_owned(),
            container_edits: CdiEdits::default(),
        };
        CdiSpec::new(kind, names.iter().map(device).collect())
    }

    #[test]
    fn the_version_is_the_lowest_that_does() {
        assert_eq!(spec("a.b/slice", &["llama"]).cdi_version, "0.3.0");
        assert_eq!(spec("a.b/gpu", &["all", "0"]).cdi_version, "0.5.0");
        assert_eq!(spec("a.b/g.pu", &["all"]).cdi_version, "0.6.0");
    }

    #[test]
    fn what_engines_would_refuse_is_refused() {
        let refused = |spec: CdiSpec| spec.check().unwrap_err();
        assert!(matches!(refused(spec("gpu", &["0"])), CdiError::Kind(_)));
        assert!(matches!(refused(spec("a/b/c", &["0"])), CdiError::Kind(_)));
        assert!(matches!(refused(spec("a/b", &[])), CdiError::Empty));
        assert!(matches!(refused(spec("a/b", &["x", "x"])), CdiError::Twice(_)));
        for name in ["", "-a", "a-", "a b", "a/b"] {
            assert!(
                matches!(refused(spec("a/b", &[name])), CdiError::Name(_)),
                "{name:?}"
            );
        }
        let mut old = spec("a/b", &["0"]);
        old.cdi_version = "0.3.0".to_owned();
        assert!(matches!(
            refused(old.clone()),
            CdiError::Version { needed: "0.5.0", .. }
        ));
        old.cdi_version = "five".to_owned();
        assert!(matches!(refused(old), CdiError::Version { .. }));
        assert!(matches!(CdiSpec::parse(b"{}"), Err(CdiError::Syntax(_))));
    }
}
