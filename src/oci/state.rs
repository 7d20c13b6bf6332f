//! A container's state as a runtime gives it to hooks on stdin.
//!
//! Read leniently: crun says "starting", which the specification does not know, and poststop comes without a pid.

use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;

/// What we use of it. Source: OCI runtime specification, "State".
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// The container's id.
    pub id: String,
    /// Its first process in the host's pid namespace; none once it is gone.
    #[serde(default)]
    pub pid: Option<i32>,
    /// Directory of config.json.
    #[serde(default)]
    pub bundle: Option<PathBuf>,
}

impl State {
    /// Reads the JSON text, up to its end and not to that of the stream: a runtime is in no hurry to close it.
    pub fn read(stream: impl Read) -> Result<Self, serde_json::Error> {
        Self::deserialize(&mut serde_json::Deserializer::from_reader(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_status_out_of_the_specification_and_missing_parts_do_not_matter() {
        let text = br#"{"ociVersion":"1.0","id":"c","pid":7,"root":"/r","bundle":"/b","status":"starting"}"#;
        let state = State::read(&text[..]).unwrap();
        assert_eq!((state.pid, state.bundle), (Some(7), Some("/b".into())));
        assert_eq!(State::read(&br#"{"id":"c"}"#[..]).unwrap().pid, None);
        assert!(State::read(&b""[..]).is_err());
    }

    #[test]
    fn the_stream_may_stay_open() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(br#"{"id":"c"}"#).unwrap();
        assert_eq!(State::read(reader).unwrap().id, "c");
    }
}
