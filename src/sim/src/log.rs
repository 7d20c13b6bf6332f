//! The log: one JSON object a line, `{"t": seconds since the start, "event": NAME, …}`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value};

/// Where events go; nowhere without a file.
#[derive(Debug)]
pub struct Log {
    file: Option<Mutex<File>>,
    start: Instant,
}

impl Log {
    /// A log to the file at `path`, which is emptied; without a path none is kept.
    pub fn create(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(Mutex::new);
        Ok(Self {
            file,
            start: Instant::now(),
        })
    }

    /// Writes an event with its fields, an object. A full disk does not stop the devices.
    pub fn write(&self, event: &str, fields: impl FnOnce() -> Value) {
        let Some(file) = &self.file else { return };
        let mut line = Map::new();
        line.insert("t".to_owned(), self.start.elapsed().as_secs_f64().into());
        line.insert("event".to_owned(), event.into());
        if let Value::Object(fields) = fields() {
            line.extend(fields);
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let _disk_full = file.write_all(text.as_bytes());
    }
}
