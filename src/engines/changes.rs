//! What was changed in a file that people write too, so that `--remove` can put it back: `/etc/sdg/setup/<engine>.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engines::tree::{Source, Tree};
use crate::engines::{Change, SetupError};

/// Directory of the records.
const DIRECTORY: &str = "/etc/sdg/setup";

/// The changes in one engine's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The file.
    pub file: PathBuf,
    /// It was not there before.
    pub created: bool,
    /// The runtime's program, as written.
    pub runtime: PathBuf,
    /// The switch for CDI, where it was changed.
    pub cdi: Option<Switch>,
    /// Sections that were not there before.
    pub sections: Vec<String>,
}

/// A switch that is on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// What it was before; none where it was not there.
    pub before: Option<bool>,
}

/// Where an engine's record is.
pub fn path(engine: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{engine}.json"))
}

/// Where an engine's record is read.
pub fn source(engine: &str) -> Source {
    Source::File(path(engine))
}

/// The record of an engine, if it was set up.
pub fn read(tree: &Tree, engine: &str) -> Result<Option<Changes>, SetupError> {
    let path = path(engine);
    let parse = |text| {
        serde_json::from_str(text).map_err(|error| SetupError::Syntax {
            path: path.clone(),
            reason: error.to_string(),
        })
    };
    tree.text(&path).map(parse).transpose()
}

/// The record's own change: written, or removed where there are no changes any more.
pub fn change(tree: &Tree, engine: &str, changes: Option<&Changes>) -> Result<Change, SetupError> {
    let path = path(engine);
    let text = changes.map(serde_json::to_string_pretty).transpose();
    let text = text.map_err(|error| SetupError::Syntax {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    Ok(Change {
        before: tree.text(&path).map(str::to_owned),
        after: text.map(|text| text + "\n"),
        path,
    })
}
