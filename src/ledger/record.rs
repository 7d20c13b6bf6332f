//! The record of a slice: `slice.json`, versioned.

use serde::{Deserialize, Serialize};

use crate::placement::GpuGrant;
use crate::request::SliceRequest;

/// Version of the record's form. A record of another version is refused by name.
pub const RECORD_VERSION: u32 = 1;

/// Characters of a container's id that people know it by.
pub const SHORT_ID: usize = 12;

/// A process, told apart from later ones with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Pid in the initial namespace.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot at its start.
    pub start_time: u64,
}

/// Who keeps a slice alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Holder {
    /// Placed for a container that has not started yet; reaped when its maker is gone and the time is over.
    Placed {
        /// The engine's process that asked.
        maker: Option<ProcessIdentity>,
        /// The container's id, where the door tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
    },
    /// Claimed by a container; reaped when its first process is gone.
    Container {
        /// The container's id.
        container: String,
        /// Its first process.
        process: ProcessIdentity,
    },
    /// Shared by the containers of a Kubernetes pod; reaped when the pod's sandbox is gone and none of them runs.
    Pod {
        /// The sandbox's id, as the container runtime knows it.
        sandbox: String,
        /// Namespace and name, for people.
        pod: String,
        /// The sandbox's first process, where it has one; else the slice lasts until the runtime says that the pod is gone.
        process: Option<ProcessIdentity>,
    },
    /// Made by a person; stays until deleted.
    Named,
}

impl Holder {
    /// The container that has a slice, or the pod: `namespace/name`.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Container { container, .. } => Some(container),
            Self::Pod { pod, .. } => Some(pod),
            Self::Placed { .. } | Self::Named => None,
        }
    }
}

/// What listings call a container or pod: engines' ids are cut as engines cut them, and names are whole, whoever gave them
/// (a pod's, or the id of a container that a person made with `ctr`).
pub fn short_name(container: &str) -> &str {
    let is_id = container.bytes().all(|byte| byte.is_ascii_hexdigit());
    match container.get(..SHORT_ID) {
        Some(short) if is_id => short,
        _ => container,
    }
}

/// Whether a person who says this means a container: its id, as much of it as listings show, or a pod's name.
pub fn is_known_as(container: &str, said: &str) -> bool {
    container == said || (said.len() >= SHORT_ID && container.starts_with(said))
}

/// A slice as written to `slice.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// 12 hex digits, also the directory's name.
    pub id: String,
    /// A person's name for it.
    pub name: Option<String>,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// What was asked.
    pub request: SliceRequest,
    /// Who keeps it alive.
    pub holder: Holder,
    /// The ordinary user for whom the broker placed it; absent: root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Layers that hold: `devices`, `dmem`, `guarded`, `cooperative`.
    pub enforcement: Vec<String>,
    /// What was granted.
    pub gpus: Vec<GpuGrant>,
}

#[cfg(test)]
mod tests {
    use super::{is_known_as, short_name};

    #[test]
    fn ids_are_cut_and_names_are_whole() {
        assert_eq!(short_name("544099dab444548a64dea437"), "544099dab444");
        for name in [
            "default/face",
            "deadbeef/cafe-0123456789",
            "training-of-resnet",
            "face",
            "grüße-grüße-grüße",
        ] {
            assert_eq!(short_name(name), name);
        }
    }

    #[test]
    fn containers_are_known_by_their_id_or_as_much_of_it_as_listings_show() {
        let id = "544099dab444548a64dea437";
        assert!(is_known_as(id, id) && is_known_as(id, "544099dab444"));
        assert!(!is_known_as(id, "544099dab44") && !is_known_as(id, "644099dab444"));
        assert!(is_known_as("default/llama", "default/llama") && is_known_as("c", "c"));
    }
}
