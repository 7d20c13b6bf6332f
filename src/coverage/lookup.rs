//! Which file a command is, as the runtime will find it: by its path, or by name in the container's own PATH.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::oci::config::Spec;
use crate::oci::tree::Tree;

/// Where programs are if the container's environment does not say. Source: runc and crun agree with environ(7) here.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command's meaning depends on.
#[derive(Debug)]
pub struct Surroundings<'a> {
    directory: &'a Path,
    path: &'a str,
}

impl<'a> Surroundings<'a> {
    /// Those of a container's first process.
    pub fn of(spec: &'a Spec) -> Self {
        let mut env = spec.list("/process/env").iter().filter_map(Value::as_str);
        Self {
            directory: Path::new(spec.text("/process/cwd").unwrap_or("/")),
            path: env
                .find_map(|entry| entry.strip_prefix("PATH="))
                .unwrap_or(DEFAULT_PATH),
        }
    }

    /// A path as seen from the working directory.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/").join(self.directory).join(path)
    }

    /// The command's file, or why there is none.
    pub fn path_of(&self, command: &str, tree: &Tree) -> Result<PathBuf, String> {
        if command.contains('/') {
            return Ok(self.absolute(Path::new(command)));
        }
        let mut candidates = self
            .path
            .split(':')
            .map(|directory| self.absolute(Path::new(directory)).join(command));
        candidates
            .find(|candidate| is_program(tree, candidate))
            .ok_or_else(|| format!("no program {command:?} in the container's PATH ({})", self.path))
    }
}

fn is_program(tree: &Tree, path: &Path) -> bool {
    let found = tree.find(path);
    found.is_ok_and(|found| found.metadata.is_file() && found.metadata.permissions().mode() & 0o111 != 0)
}
