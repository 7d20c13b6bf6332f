//! What runs in a slice, in words that its owner knows: the file `workload` of a slice that one container has. For
//! people who look at the past; nothing is decided by it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::{FileError, write_whole};

const FILE: &str = "workload";
/// Characters of a program's name that are kept.
const LONGEST_PROGRAM: usize = 64;
/// Characters of a name in Kubernetes: namespace and container have 63 at most, a pod has 253.
const LONGEST_NAME: usize = 63 + 253 + 63 + 2;

/// A container's work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The program that it begins with, without its directory and without arguments, which may be secret.
    pub program: Option<String>,
    /// `namespace/pod/container`, where Kubernetes runs it.
    pub kubernetes: Option<String>,
}

impl Workload {
    /// From a program's path and the container's name in Kubernetes. Images choose both: what could move a terminal's
    /// cursor is left out.
    pub fn new(program: Option<&str>, kubernetes: Option<&str>) -> Self {
        let name = program.and_then(|path| path.rsplit('/').next());
        Self {
            program: name.map(|name| plain(name, LONGEST_PROGRAM)),
            kubernetes: kubernetes.map(|name| plain(name, LONGEST_NAME)),
        }
    }

    /// Writes it into a slice's directory.
    pub fn write(&self, slice_dir: &Path) -> Result<(), FileError> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        write_whole(&slice_dir.join(FILE), 0o600, &json)
    }

    /// What was written; nothing where nothing was.
    pub fn read(slice_dir: &Path) -> Self {
        let text = std::fs::read(slice_dir.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

fn plain(text: &str, longest: usize) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .take(longest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_no_directory_no_end_and_nothing_that_moves_a_cursor() {
        let workload = Workload::new(Some("/opt/vllm/bin/vllm\u{1b}[2J\n"), None);
        assert_eq!(workload.program.as_deref(), Some("vllm?[2J?"));
        let workload = Workload::new(Some(&"x".repeat(1000)), Some("default/llama/server"));
        assert_eq!(workload.program.map(|name| name.len()), Some(64));
        assert_eq!(workload.kubernetes.as_deref(), Some("default/llama/server"));
    }

    #[test]
    fn what_is_not_there_or_not_understood_is_nothing() {
        let slice = tempfile::tempdir().unwrap();
        assert_eq!(Workload::read(slice.path()), Workload::default());
        let workload = Workload::new(Some("sh"), None);
        workload.write(slice.path()).unwrap();
        assert_eq!(Workload::read(slice.path()), workload);
        std::fs::write(slice.path().join(FILE), b"{").unwrap();
        assert_eq!(Workload::read(slice.path()), Workload::default());
    }
}
