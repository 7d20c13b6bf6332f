//! How slices are placed for ordinary users: hooks of a rootless engine have no power over the ledger and ask `sdg-agent`, which
//! has. Both sides of what is said; the agent's work is its own.
//!
//! ```text
//! hook ─ Ask, a line ─→ <state>/broker.sock ─ who asks, by the kernel; lifecycle/ ─→ Answer, a line ─→ hook
//! ```

pub mod client;
pub mod line;

use serde::{Deserialize, Serialize};

use crate::edits::ContainerEdits;
use crate::ledger::record::SliceRecord;
use crate::ledger::workload::Workload;

/// The socket in the state directory.
pub const SOCKET: &str = "broker.sock";
/// Version of the protocol. Another one is refused by name.
pub const VERSION: u32 = 1;
/// Longest line that the broker reads, in bytes.
pub const LONGEST_ASK: usize = 64 << 10;
/// Longest line that a hook reads, in bytes: edits of 64 GPUs have a tenth of it.
pub const LONGEST_ANSWER: usize = 4 << 20;

/// What is sent: either side's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message<T> {
    /// [`VERSION`].
    pub version: u32,
    /// What is asked or answered.
    pub content: T,
}

/// What a user asks for. There is no path in it: root opens none that a user names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Whether he may ask.
    Greet,
    /// His slices.
    List,
    /// A slice for a container that is about to be made.
    Place {
        /// Its annotations, those that are ours.
        annotations: Vec<(String, String)>,
        /// The image's own preload file.
        preload: Vec<u8>,
        /// Whether the shim gets in, as the hook has found.
        covered: bool,
        /// The engine's process.
        maker: Option<i32>,
    },
    /// The container has been made.
    Claim {
        /// The slice.
        slice: String,
        /// The container's id.
        container: String,
        /// Its first process.
        pid: i32,
        /// What it runs.
        workload: Workload,
    },
    /// The container is gone, or will not be.
    Release {
        /// The slice.
        slice: String,
        /// The container's id, where it is known.
        container: Option<String>,
    },
}

/// What the broker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is so.
    Done,
    /// As many of this user's, or of all users', are under way as there may be.
    Busy,
    /// The user's slices.
    Slices(Vec<SliceRecord>),
    /// A slice that is there now.
    Placed {
        /// Its record.
        record: Box<SliceRecord>,
        /// What its container gets.
        edits: Box<ContainerEdits>,
    },
    /// Why not, in one line.
    Refused(String),
}

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not as the protocol says.
    #[error("a message that is not understood: {0}")]
    Content(#[from] serde_json::Error),
    /// It is of another version.
    #[error(
        "a message of version {found}, this program knows {VERSION} (sdg and sdg-agent are of one package)"
    )]
    Version {
        /// What it says.
        found: u64,
    },
}

/// A message as a line.
pub fn to_line<T: Serialize>(content: &T) -> Result<Vec<u8>, MessageError> {
    let version = VERSION;
    let mut line = serde_json::to_vec(&Message { version, content })?;
    line.push(b'\n');
    Ok(line)
}

/// What a line says. Its version is looked at first: the rest may be of another form.
pub fn from_line<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, MessageError> {
    let value: serde_json::Value = serde_json::from_slice(line)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(VERSION) => Err(MessageError::Version { found }),
        _ => Ok(serde_json::from_value::<Message<T>>(value)?.content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_arrives() {
        let ask = Ask::Place {
            annotations: vec![("sdg.memory".to_owned(), "20Gi\n".to_owned())],
            preload: vec![0, 255, b'\n'],
            covered: true,
            maker: Some(7),
        };
        let line = to_line(&ask).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(from_line::<Ask>(&line).unwrap(), ask);
    }

    #[test]
    fn other_versions_and_anything_else_are_refused() {
        let refusal = |line: &str| from_line::<Ask>(line.as_bytes()).unwrap_err().to_string();
        assert!(refusal(r#"{"version": 2, "content": {"new": 1}}"#).contains("version 2"));
        for line in [
            "",
            "\0",
            "[]",
            r#"{"content": "greet"}"#,
            r#"{"version": 1, "content": "rule"}"#,
            r#"{"version": 1, "content": {"release": {"slice": "a", "container": null, "path": "/etc"}}}"#,
            r#"{"version": 1, "content": {"claim": {"slice": "a", "pid": 1}}}"#,
            &"[".repeat(LONGEST_ASK),
        ] {
            assert!(
                refusal(line).starts_with("a message that is not understood: "),
                "{line}"
            );
        }
    }
}
