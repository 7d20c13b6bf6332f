//! Our CDI files in a directory: found, written as a whole by a rename, removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::cdi::spec::{CdiError, CdiSpec};
use crate::cdi::{AMD_KIND, GPU_KIND};
use crate::files::{FileError, make_dir, replace_whole};

/// How our files' names begin.
const PREFIX: &str = "sdg-";
const SUFFIX: &str = ".json";
const SLICE: &str = "slice-";

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum CdiFileError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in it.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CdiError,
    },
}

/// The file of whole GPUs of a kind: `sdg-gpu.json`, `sdg-amd.com-gpu.json`.
pub fn gpu_path(directory: &Path, kind: &str) -> PathBuf {
    let name = match kind {
        GPU_KIND => "gpu".to_owned(),
        other => other.replace('/', "-"),
    };
    directory.join(format!("{PREFIX}{name}{SUFFIX}"))
}

/// The file of a named slice: `sdg-slice-<name>.json`.
pub fn slice_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{PREFIX}{SLICE}{name}{SUFFIX}"))
}

/// The slice that a file is of.
pub fn slice_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .strip_prefix(SLICE)?
        .strip_suffix(SUFFIX)
}

/// Kinds of whole GPUs that there are files of.
pub fn gpu_kinds(directory: &Path) -> impl Iterator<Item = &'static str> {
    [GPU_KIND, AMD_KIND]
        .into_iter()
        .filter(|kind| gpu_path(directory, kind).exists())
}

/// Our files, by name.
pub fn ours(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::of("read", directory)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::of("read", directory))?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
        {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads and checks a file.
pub fn read(path: &Path) -> Result<CdiSpec, CdiFileError> {
    let text = std::fs::read(path).map_err(FileError::of("read", path))?;
    CdiSpec::parse(&text).map_err(|source| CdiFileError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file unless it says the same already; says whether it changed.
pub fn write(path: &Path, spec: &CdiSpec) -> Result<bool, CdiFileError> {
    let content = |source| CdiFileError::Content {
        path: path.to_owned(),
        source,
    };
    spec.check().map_err(content)?;
    let text = spec.to_json().map_err(content)?;
    if std::fs::read(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    make_dir(path.parent().unwrap_or(Path::new("/")), 0o755)?;
    replace_whole(path, 0o644, &text)?;
    Ok(true)
}

/// Removes a file; one that is not there is no error. Says whether it was there.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::of("remove", path)(error)),
    }
}
