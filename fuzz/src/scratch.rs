//! Files that a target's bytes are put into: in memory, one directory a fuzzing process, gone with its directory.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// This process's directory, as `make` has filled it the first time.
pub fn directory(make: impl FnOnce(&Path)) -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // scripts/fuzz.sh removes what stands in its own directory of temporary files.
        let directory = tempfile::tempdir().expect("a temporary directory").keep();
        make(&directory);
        directory
    })
}

/// Puts bytes into a file.
pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}
