//! A mark that the pages of slices may not be what the records say: while a resize is under way. Whoever finds it left
//! over puts all pages right before doing anything else.

use std::path::PathBuf;

use crate::files::{FileError, write_whole};
use crate::ledger::store::Locked;

const MARK: &str = "unsettled";

impl Locked<'_> {
    fn mark(&self) -> PathBuf {
        self.ledger().state().join(MARK)
    }

    /// Whether a command was killed before it had settled all pages.
    pub fn is_unsettled(&self) -> bool {
        self.mark().exists()
    }

    /// From now on pages may differ from records.
    pub fn unsettle(&self) -> Result<(), FileError> {
        write_whole(&self.mark(), 0o600, b"")
    }

    /// All pages are what the records say.
    pub fn settle(&self) -> Result<(), FileError> {
        let mark = self.mark();
        match std::fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::of("remove", &mark)(error))
            }
            _ => Ok(()),
        }
    }
}
