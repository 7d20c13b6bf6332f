//! The runtime that does the work: found by the configuration, then in PATH, and never this program itself.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::RuntimeError;
use crate::edits::HookStage;

/// Runtimes that are looked for.
const NAMES: [&str; 2] = ["runc", "crun"];
/// The one that makes mounts before its createRuntime hooks run.
const EARLY_MOUNTS: &str = "runc";
/// Where programs are if PATH does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The runtime's file.
pub fn find(configured: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    match configured {
        Some(path) if path.is_absolute() && is_own(path) => Err(RuntimeError::Itself(path.to_owned())),
        Some(path) if path.is_absolute() && is_program(path) => Ok(path.to_owned()),
        Some(path) if path.is_absolute() => Err(RuntimeError::NotFound {
            looked_for: format!("{} is not there or no program", path.display()),
        }),
        Some(name) => search(&directories, &[&name.to_string_lossy()]),
        None => search(&directories, &NAMES),
    }
}

fn search(directories: &[PathBuf], names: &[&str]) -> Result<PathBuf, RuntimeError> {
    let candidates = names
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    let mut programs = candidates.filter(|path| is_program(path) && !is_own(path));
    programs.next().ok_or_else(|| RuntimeError::NotFound {
        looked_for: format!("no {} in PATH", names.join(" or ")),
    })
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether a file is this very program, under whatever name.
fn is_own(path: &Path) -> bool {
    let (Ok(file), Ok(own)) = (std::fs::metadata(path), std::fs::metadata("/proc/self/exe")) else {
        return false;
    };
    (file.dev(), file.ino()) == (own.dev(), own.ino())
}

/// Hooks that a slice needs with a runtime. runc has made a container's mounts when it calls createRuntime hooks (1.0 to
/// 1.3, `prepareRootfs`: "The hooks are run after the mounts are setup"), and the container is looked at from there. crun
/// has not, and of others nothing is known. A stranger by the name of runc gets its container refused.
pub fn hooks(path: &Path) -> &'static [HookStage] {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real.file_name() == Some(EARLY_MOUNTS.as_ref()) {
        HookStage::OUTSIDE
    } else {
        HookStage::ALL
    }
}

/// Becomes the runtime; comes back only if that failed. Environment, descriptors and working directory stay.
pub fn become_it(path: &Path, arguments: &[OsString]) -> RuntimeError {
    RuntimeError::Exec {
        source: Command::new(path).args(arguments).exec(),
        path: path.to_owned(),
    }
}
