//! A bundle's config.json: read, and replaced as a whole by a rename. What the engine wrote is kept beside it, for a
//! bundle that is used again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files::{FileError, replace_whole};

/// What the engine wrote, beside the edited file.
const ORIGINAL_SUFFIX: &str = ".before-sdg";

/// Where a container's config is.
#[derive(Debug)]
pub struct Bundle {
    directory: PathBuf,
    config: PathBuf,
}

impl Bundle {
    /// The bundle of a call.
    pub fn new(directory: &Path, config: Option<PathBuf>) -> Self {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        Self {
            config: config.unwrap_or_else(|| directory.join("config.json")),
            directory,
        }
    }

    /// The bundle's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The config's text.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        std::fs::read(&self.config)
    }

    /// What the engine wrote before we edited it, if we did.
    pub fn original(&self) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.original_path();
        match std::fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::of("read", &path)(error)),
        }
    }

    /// Puts the edited text in the config's place and keeps the original beside it, with the same mode.
    pub fn replace(&self, original: &[u8], edited: &[u8]) -> Result<(), FileError> {
        let config = std::fs::metadata(&self.config).map_err(FileError::of("stat", &self.config))?;
        let mode = config.mode() & 0o7777;
        replace_whole(&self.original_path(), mode, original)?;
        replace_whole(&self.config, mode, edited)
    }

    fn original_path(&self) -> PathBuf {
        let mut path = self.config.clone().into_os_string();
        path.push(ORIGINAL_SUFFIX);
        PathBuf::from(path)
    }
}
