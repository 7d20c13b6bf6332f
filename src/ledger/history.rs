//! Slices that are over: `<state>/history`, a line of JSON each, the last ones of every owner. What a slice had and what
//! it needed is known when it has gone, so that the next start can be given the right size.
//!
//! ```text
//! end(record) ─ record, usage page, workload ─→ a line at the end of the file → remove(id)
//!               a file that has grown too long ─→ kept(lines) (pure) → replaced by a rename
//! ```
//!
//! It remembers and decides nothing, so nothing fails by it. A kill between line and removal leaves both: the next reap
//! writes the line again, and the last line of an id counts. A line that was cut short is one that nobody understands.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files::{FileError, write_whole};
use crate::host::now;
use crate::ledger::record::{Holder, SliceRecord, is_known_as};
use crate::ledger::store::{Ledger, LedgerError, Locked};
use crate::ledger::usage::{self, Past};
use crate::ledger::workload::Workload;

const FILE: &str = "history";
const FILE_NEXT: &str = "history.next";
/// Version of a line's form. Lines of another are passed over.
const VERSION: u32 = 1;
/// From here on the file is made shorter: some hundreds of slices.
const LONGEST_FILE: u64 = 128 << 10;
/// Lines that an owner keeps then: one that starts anew every second must not push out what others needed.
const KEPT_OF_OWNER: usize = 16;

/// A part of a GPU that a slice had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedGpu {
    /// Position in the inventory at placement.
    pub index: u32,
    /// The GPU.
    pub uuid: String,
}

/// A slice that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    version: u32,
    /// Id.
    pub id: String,
    /// A person's name for it.
    pub name: Option<String>,
    /// The container that held it, or the pod: `namespace/name`.
    pub container: Option<String>,
    /// What ran in it.
    pub workload: Workload,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// When it went, in seconds since the Unix epoch.
    pub ended: u64,
    /// Its GPUs: the same part of each.
    pub gpus: Vec<EndedGpu>,
    /// Memory guaranteed on each, in bytes.
    pub memory_bytes: u64,
    /// Memory never exceeded, in bytes.
    pub memory_limit_bytes: u64,
    /// Compute units guaranteed on each.
    pub compute_units: u32,
    /// What it needed; none where the container had spoiled the page that says so.
    pub past: Option<Past>,
}

impl Ended {
    fn new(record: &SliceRecord, workload: Workload, past: Option<Past>) -> Self {
        let gpus = record.gpus.iter().map(|grant| EndedGpu {
            index: grant.index,
            uuid: grant.uuid.clone(),
        });
        let first = record.gpus.first();
        Self {
            version: VERSION,
            id: record.id.clone(),
            name: record.name.clone(),
            container: record.holder.container().map(str::to_owned),
            workload,
            created: record.created,
            ended: now(),
            gpus: gpus.collect(),
            memory_bytes: first.map_or(0, |grant| grant.memory_bytes),
            memory_limit_bytes: first.map_or(0, |grant| grant.memory_limit_bytes),
            compute_units: first.map_or(0, |grant| grant.compute_units),
            past,
        }
    }

    /// Whether a person means this slice: by its id or name, by its container or pod.
    pub fn is_known_as(&self, said: &str) -> bool {
        let names = [
            Some(&self.id),
            self.name.as_ref(),
            self.workload.kubernetes.as_ref(),
        ];
        names.into_iter().flatten().any(|name| name == said)
            || self
                .container
                .as_deref()
                .is_some_and(|container| is_known_as(container, said))
    }

    /// By what later slices of the same purpose are known; a container's id only where nothing else is.
    fn owner(&self) -> &str {
        let Workload { program, kubernetes } = &self.workload;
        let names = [&self.name, kubernetes, program, &self.container];
        names.into_iter().flatten().next().map_or("", String::as_str)
    }
}

impl Ledger {
    fn history(&self) -> PathBuf {
        self.state().join(FILE)
    }

    /// Slices that are over, in the order of their end.
    pub fn ended(&self) -> Result<Vec<Ended>, FileError> {
        let path = self.history();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(FileError::of("read", &path)(error)),
        }
    }
}

impl Locked<'_> {
    /// Writes down what a slice needed, and lets it disappear.
    pub fn end(&self, record: &SliceRecord) -> Result<(), LedgerError> {
        // A stop is worth more than its story.
        let _ = self.tell(record);
        self.remove(&record.id)
    }

    fn tell(&self, record: &SliceRecord) -> Result<(), LedgerError> {
        let directory = self.ledger().slice_dir(&record.id);
        // A container that was never started has needed nothing.
        if matches!(record.holder, Holder::Placed { .. }) {
            return Ok(());
        }
        let past = usage::read_past(&directory).ok().flatten();
        let ended = Ended::new(record, Workload::read(&directory), past);
        let line = serde_json::to_string(&ended)
            .map_err(|source| LedgerError::Unwritable { id: ended.id, source })?;
        let path = self.ledger().history();
        let mut file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::of("open", &path))?;
        // The line before may have been cut short: it ends here.
        file.write_all(format!("\n{line}\n").as_bytes())
            .map_err(FileError::of("write", &path))?;
        let length = file.metadata().map_err(FileError::of("stat", &path))?.len();
        if length > LONGEST_FILE {
            self.shorten()?;
        }
        Ok(())
    }

    fn shorten(&self) -> Result<(), LedgerError> {
        let (path, next) = (self.ledger().history(), self.ledger().state().join(FILE_NEXT));
        let lines = kept(&self.ledger().ended()?, LONGEST_FILE as usize / 2);
        write_whole(&next, 0o600, lines.as_bytes())?;
        std::fs::rename(&next, &path).map_err(FileError::of("rename to", &path))?;
        Ok(())
    }
}

/// The last line of each id, in the order of the file.
fn parse(text: &str) -> Vec<Ended> {
    let known = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Ended>(line).ok());
    let mut ended: Vec<Ended> = known.filter(|ended| ended.version == VERSION).collect();
    let mut seen = HashSet::new();
    ended.reverse();
    ended.retain(|ended| seen.insert(ended.id.clone()));
    ended.reverse();
    ended
}

/// The last lines of every owner, and of them the last that have room.
fn kept(all: &[Ended], room: usize) -> String {
    let mut of_owner = HashMap::new();
    let mut lines = Vec::new();
    let mut length = 0;
    for ended in all.iter().rev() {
        let count = of_owner.entry(ended.owner()).or_insert(0);
        *count += 1;
        let Ok(line) = serde_json::to_string(ended) else {
            continue;
        };
        if *count > KEPT_OF_OWNER {
            continue;
        }
        length += line.len() + 1;
        if length > room {
            break;
        }
        lines.push(line + "\n");
    }
    lines.reverse();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(id: &str, program: &str) -> Ended {
        Ended {
            version: VERSION,
            id: id.to_owned(),
            name: None,
            container: Some("544099dab444548a64dea437".to_owned()),
            workload: Workload::new(Some(program), None),
            created: 1000,
            ended: 2000,
            gpus: vec![EndedGpu {
                index: 0,
                uuid: "GPU-1".to_owned(),
            }],
            memory_bytes: 1 << 30,
            memory_limit_bytes: 2 << 30,
            compute_units: 32,
            past: Some(Past {
                peak_bytes: 1 << 29,
                refused: 0,
            }),
        }
    }

    fn ids(all: &[Ended]) -> Vec<&str> {
        all.iter().map(|ended| ended.id.as_str()).collect()
    }

    #[test]
    fn the_last_line_of_an_id_counts_and_what_is_not_understood_is_passed_over() {
        let line = |id: &str| serde_json::to_string(&ended(id, "sh")).unwrap();
        let other = line("d").replacen("\"version\":1", "\"version\":2", 1);
        let cut = &line("e")[..40];
        let text = format!(
            "\n{}\n{}\n\n{}\n{other}\n{cut}\n{}",
            line("a"),
            line("b"),
            line("a"),
            line("c")
        );
        let all = parse(&text);
        assert_eq!(ids(&all), ["b", "a", "c"]);
        assert_eq!(all[0], ended("b", "sh"));
    }

    #[test]
    fn who_starts_again_and_again_pushes_nobody_out() {
        let mut all = vec![ended("first", "vllm")];
        all.extend((0..1000).map(|number| ended(&number.to_string(), "loop")));
        let text = kept(&all, 64 << 10);
        let left = parse(&text);
        assert_eq!(left.len(), 1 + KEPT_OF_OWNER);
        assert_eq!((left[0].id.as_str(), left[16].id.as_str()), ("first", "999"));
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room() {
        let all: Vec<Ended> = (0..100)
            .map(|number| ended(&number.to_string(), &number.to_string()))
            .collect();
        let text = kept(&all, 4096);
        assert!(text.len() <= 4096 && text.len() > 3072, "{}", text.len());
        assert_eq!(parse(&text).last().map(|ended| ended.id.as_str()), Some("99"));
    }

    #[test]
    fn slices_are_found_by_what_people_know() {
        let slice = ended("0123456789ab", "/usr/bin/vllm");
        for said in ["0123456789ab", "544099dab444"] {
            assert!(slice.is_known_as(said), "{said}");
        }
        assert!(!slice.is_known_as("vllm") && !slice.is_known_as(""));
    }
}
