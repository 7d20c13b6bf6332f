//! The directory tree: records read, slices staged, published, rewritten and removed.
//!
//! ```text
//! Ledger::lock → Locked: sweep() → records; stage() → files → publish(), rewrite(), remove()
//! ```

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::Deserialize;
use serde_json::Value;

use crate::files::{Dir, FileError, make_dir, write_whole};
use crate::ledger::index::{self, Entry, Seen};
use crate::ledger::lock::{LedgerLock, LockError};
use crate::ledger::record::{ProcessIdentity, RECORD_VERSION, SliceRecord};
use crate::sys;

/// The record's file in a slice's directory.
const RECORD: &str = "slice.json";
const RECORD_NEXT: &str = "slice.json.next";
const NEW: &str = ".new-";
const OLD: &str = ".old-";
/// Directories that runtimes and containers' users pass through, though not list.
const PASSABLE: u32 = 0o711;

/// Why the ledger did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// This user may not write it.
    #[error("{0}: only root places slices (a rootless engine's hooks have no power over the host)")]
    Forbidden(FileError),
    /// A record that is not understood: what it holds must not be given again, so nothing is placed.
    #[error("{}: {reason} (`sdg slice delete {id}` removes the slice)", path.display())]
    Record {
        /// The slice.
        id: String,
        /// The record's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A record that cannot be written down.
    #[error("record of slice {id}: {source}")]
    Unwritable {
        /// The slice.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// No such slice.
    #[error("no slice {0:?} (`sdg slice list` shows those there are)")]
    NoSlice(String),
    /// The kernel gave no random bytes.
    #[error("no random id: {0}")]
    NoId(std::io::Error),
}

/// A ledger that may be read.
#[derive(Clone, Debug)]
pub struct Ledger {
    state: PathBuf,
}

impl Ledger {
    /// The ledger below a state directory (`/run/sdg`).
    pub fn at(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// The state directory.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Where a slice's files are.
    pub fn slice_dir(&self, id: &str) -> PathBuf {
        self.slices().join(id)
    }

    fn slices(&self) -> PathBuf {
        self.state.join("slices")
    }

    /// Waits for the lock, making the directories first if need be.
    pub fn lock(&self, timeout: Duration) -> Result<Locked<'_>, LedgerError> {
        let lock = self.state.join("lock");
        let held = match LedgerLock::acquire(&lock, timeout) {
            Err(LockError::File(error)) if error.is_absent() => {
                make_dir(&self.slices(), PASSABLE).map_err(forbidden)?;
                LedgerLock::acquire(&lock, timeout)?
            }
            Err(LockError::File(error)) => return Err(forbidden(error)),
            held => held?,
        };
        Ok(Locked {
            ledger: self,
            _lock: held,
        })
    }

    /// All records, oldest first. Without the lock a slice may go away meanwhile: then it is not there.
    pub fn records(&self) -> Result<Vec<SliceRecord>, LedgerError> {
        // In this order: what the index knows was there before the names were read.
        let known = index::read(&self.state);
        Ok(self.read_all(known, &self.names()?)?.into_records())
    }

    fn read_all(&self, known: Vec<Entry>, names: &Names) -> Result<Contents, LedgerError> {
        let mut contents = Contents {
            entries: known,
            unknown: 0,
        };
        if names.slices == 0 {
            contents.entries.clear();
            return Ok(contents);
        }
        let slices = Dir::open(&self.slices())?;
        contents.keep_unchanged(&slices)?;
        // Every entry that was kept has a name, so that equally many leave none over.
        if contents.entries.len() < names.slices {
            contents.add_unknown(&slices, names)?;
        }
        Ok(contents)
    }

    /// One record by id.
    pub fn record(&self, id: &str) -> Result<SliceRecord, LedgerError> {
        let missing = || LedgerError::NoSlice(id.to_owned());
        if !is_id(id) {
            return Err(missing());
        }
        match Dir::open(&self.slices()) {
            Ok(slices) => read_record(&slices, id)?.ok_or_else(missing),
            Err(error) if error.is_absent() => Err(missing()),
            Err(error) => Err(error.into()),
        }
    }

    /// Processes that a record names which is not understood: whatever its version, who holds the slice is among them.
    pub fn processes_named_in(&self, id: &str) -> Vec<ProcessIdentity> {
        let text = std::fs::read(self.slice_dir(id).join(RECORD)).unwrap_or_default();
        let mut processes = Vec::new();
        add_processes(&serde_json::from_slice(&text).unwrap_or_default(), &mut processes);
        processes
    }

    fn names(&self) -> Result<Names, LedgerError> {
        let path = self.slices();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = match nix::dir::Dir::open(&path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Ok(Names::default()),
            Err(errno) => return Err(FileError::of("open", &path)(errno).into()),
        };
        let mut names = Names::default();
        for entry in directory.iter() {
            let entry = entry.map_err(FileError::of("read", &path))?;
            names.add(entry.file_name().to_bytes());
        }
        Ok(names)
    }
}

/// Names in the directory of slices, in one piece: there are hundreds.
#[derive(Debug, Default)]
struct Names {
    /// Each with a slash behind it, which no name has.
    text: Vec<u8>,
    /// How many are names of slices.
    slices: usize,
}

impl Names {
    fn add(&mut self, name: &[u8]) {
        self.slices += usize::from(is_shown(name));
        self.text.extend_from_slice(name);
        self.text.push(b'/');
    }

    fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.text
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
    }

    fn slices(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let names = self.all().filter(|name| is_shown(name));
        names.map(String::from_utf8_lossy)
    }

    fn leftovers(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let is_left = |name: &&[u8]| name.starts_with(NEW.as_bytes()) || name.starts_with(OLD.as_bytes());
        self.all().filter(is_left).map(String::from_utf8_lossy)
    }
}

fn is_shown(name: &[u8]) -> bool {
    name.first() != Some(&b'.')
}

/// What was found in the tree.
#[derive(Debug)]
struct Contents {
    /// Oldest first.
    entries: Vec<Entry>,
    /// How many the index did not know.
    unknown: usize,
}

impl Contents {
    /// Keeps entries whose file is the one that was read.
    fn keep_unchanged(&mut self, slices: &Dir) -> Result<(), LedgerError> {
        let mut file = String::new();
        let mut failed = None;
        self.entries
            .retain(|entry| match look_at(slices, &entry.record.id, &mut file) {
                Ok(seen) => seen == Some(entry.seen),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            });
        failed.map_or(Ok(()), Err)
    }

    /// Adds the slices that are there and not among the entries.
    fn add_unknown(&mut self, slices: &Dir, names: &Names) -> Result<(), LedgerError> {
        let mut added = Vec::new();
        let kept: HashSet<&str> = self
            .entries
            .iter()
            .map(|entry| entry.record.id.as_str())
            .collect();
        let mut file = String::new();
        for id in names.slices().filter(|id| !kept.contains(id.as_ref())) {
            let Some(seen) = look_at(slices, &id, &mut file)? else {
                continue;
            };
            self.unknown += 1;
            let record = read_record(slices, &id)?;
            added.extend(record.map(|record| Entry { seen, record }));
        }
        self.entries.append(&mut added);
        let age = |entry: &Entry| entry.record.created;
        self.entries
            .sort_by(|a, b| (age(a), &a.record.id).cmp(&(age(b), &b.record.id)));
        Ok(())
    }

    fn into_records(self) -> Vec<SliceRecord> {
        self.entries.into_iter().map(|entry| entry.record).collect()
    }
}

/// A record's file; none where the slice has gone meanwhile, directory and all. `file` is room for its path.
fn look_at(slices: &Dir, id: &str, file: &mut String) -> Result<Option<Seen>, LedgerError> {
    file.clear();
    for part in [id, "/", RECORD] {
        file.push_str(part);
    }
    match slices.stat(file) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(error) if error.is_absent() => check_gone(slices, id).map(|()| None),
        Err(error) => Err(error.into()),
    }
}

/// Slices come and go by a rename, with their record in them: a directory without one is of a program that calls it
/// otherwise, or spoiled.
fn check_gone(slices: &Dir, id: &str) -> Result<(), LedgerError> {
    match slices.stat(id) {
        Ok(_) if is_id(id) => Err(LedgerError::Record {
            id: id.to_owned(),
            path: slices.path_of(&format!("{id}/{RECORD}")),
            reason: "not there".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn forbidden(error: FileError) -> LedgerError {
    if error.is_forbidden() {
        LedgerError::Forbidden(error)
    } else {
        error.into()
    }
}

/// 12 hex digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_record(slices: &Dir, id: &str) -> Result<Option<SliceRecord>, LedgerError> {
    let file = format!("{id}/{RECORD}");
    let bytes = match slices.read_bytes(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.is_absent() => return check_gone(slices, id).map(|()| None),
        Err(error) => return Err(error.into()),
    };
    let refused = |reason| LedgerError::Record {
        id: id.to_owned(),
        path: slices.path_of(&file),
        reason,
    };
    let other_version = |version| {
        refused(format!(
            "record version {version}, this program knows {RECORD_VERSION}"
        ))
    };
    // Checked once as a whole and not string by string.
    let text = std::str::from_utf8(&bytes).map_err(|error| refused(error.to_string()))?;
    match serde_json::from_str::<SliceRecord>(text) {
        Ok(record) if record.version != RECORD_VERSION => Err(other_version(record.version)),
        Ok(record) if record.id != id => Err(refused(format!("it is the record of slice {:?}", record.id))),
        Ok(record) => Ok(Some(record)),
        Err(error) => Err(match version_of(text) {
            Some(version) if version != RECORD_VERSION => other_version(version),
            _ => refused(error.to_string()),
        }),
    }
}

fn add_processes(value: &Value, processes: &mut Vec<ProcessIdentity>) {
    processes.extend(ProcessIdentity::deserialize(value).ok());
    match value {
        Value::Object(fields) => fields.values().for_each(|field| add_processes(field, processes)),
        Value::Array(entries) => entries.iter().for_each(|entry| add_processes(entry, processes)),
        _ => {}
    }
}

fn version_of(text: &str) -> Option<u32> {
    let value: Value = serde_json::from_str(text).ok()?;
    u32::try_from(value.get("version")?.as_u64()?).ok()
}

/// A ledger that may be changed: nobody else does.
#[derive(Debug)]
pub struct Locked<'a> {
    ledger: &'a Ledger,
    _lock: LedgerLock,
}

impl Locked<'_> {
    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        self.ledger
    }

    /// An id that no slice has.
    pub fn new_id(&self) -> Result<String, LedgerError> {
        loop {
            let bytes = sys::random_bytes::<6>().map_err(LedgerError::NoId)?;
            let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if !self.ledger.slice_dir(&id).exists() {
                return Ok(id);
            }
        }
    }

    /// A directory for the files of a slice that nobody sees yet.
    pub fn stage(&self, id: &str) -> Result<PathBuf, LedgerError> {
        let staged = self.staged(id);
        make_dir(&staged, PASSABLE)?;
        Ok(staged)
    }

    fn staged(&self, id: &str) -> PathBuf {
        self.ledger.slices().join(format!("{NEW}{id}"))
    }

    /// Writes the record into the staged directory and lets the slice appear.
    pub fn publish(&self, record: &SliceRecord) -> Result<(), LedgerError> {
        let staged = self.staged(&record.id);
        write_whole(&staged.join(RECORD), 0o644, &to_json(record)?)?;
        let slice = self.ledger.slice_dir(&record.id);
        std::fs::rename(&staged, &slice).map_err(FileError::of("rename to", &slice))?;
        Ok(())
    }

    /// Replaces a slice's record.
    pub fn rewrite(&self, record: &SliceRecord) -> Result<(), LedgerError> {
        let slice = self.ledger.slice_dir(&record.id);
        let (next, current) = (slice.join(RECORD_NEXT), slice.join(RECORD));
        write_whole(&next, 0o644, &to_json(record)?)?;
        std::fs::rename(&next, &current).map_err(FileError::of("rename to", &current))?;
        Ok(())
    }

    /// Lets a slice disappear, staged or published. One that is not there is no error.
    pub fn remove(&self, id: &str) -> Result<(), LedgerError> {
        let old = self.ledger.slices().join(format!("{OLD}{id}"));
        for path in [self.ledger.slice_dir(id), self.staged(id)] {
            match std::fs::rename(&path, &old) {
                Ok(()) => remove_tree(&old)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::of("rename", &path)(error).into()),
            }
        }
        Ok(())
    }

    /// Removes what killed processes left behind; gives the records of the others, oldest first. Whoever holds the
    /// lock knows that nobody else is at work.
    pub fn sweep(&self) -> Result<Vec<SliceRecord>, LedgerError> {
        let known = index::read(&self.ledger.state);
        let names = self.ledger.names()?;
        for name in names.leftovers() {
            remove_tree(&self.ledger.slices().join(name.as_ref()))?;
        }
        let contents = self.ledger.read_all(known, &names)?;
        self.remember(&contents);
        Ok(contents.into_records())
    }

    /// Keeps the index true enough to be worth its reading. Nothing depends on it, so nothing fails by it.
    fn remember(&self, contents: &Contents) {
        let state = &self.ledger.state;
        if contents.entries.is_empty() {
            index::forget(state);
        } else if index::is_stale(contents.unknown, contents.entries.len()) {
            let _ = index::write(state, &contents.entries);
        }
    }
}

fn to_json(record: &SliceRecord) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(record).map_err(|source| LedgerError::Unwritable {
        id: record.id.clone(),
        source,
    })
}

fn remove_tree(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::of("remove", path)(error))
        }
        _ => Ok(()),
    }
}
