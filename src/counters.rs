//! What commands count that live for milliseconds: placements, refusals, how long hooks took. They add to a page of the
//! state directory, which `sdg-agent` reads.
//!
//! ```text
//! <state>/counters.1: words of 64 bits, added to atomically
//!   placements │ refusals, a word each reason │ for each hook: a word each bucket, then the sum of nanoseconds
//! ```
//!
//! Counting costs an open, a mapping and a few additions, and never fails what is counted. The file's name ends in the
//! layout's version; a file of only zeros is a good one, so that nobody has to be first.

mod reason;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::{FileError, make_dir};
use crate::sys::{Access, Mapping};

pub use reason::Reason;

const FILE: &str = "counters.1";
const WORD: usize = size_of::<u64>();
const REASONS_AT: usize = 1;
const HOOKS_AT: usize = REASONS_AT + Reason::ALL.len();
/// Buckets, the one without an upper bound, and the sum.
const HOOK_WORDS: usize = BOUNDS.len() + 2;
const WORDS: usize = HOOKS_AT + Hook::ALL.len() * HOOK_WORDS;

/// Upper bounds of the buckets of times.
pub const BOUNDS: [Duration; 12] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// What an engine or a runtime waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `sdg hook precreate`.
    Precreate,
    /// `sdg hook create-runtime`.
    CreateRuntime,
    /// `sdg hook create-container`.
    CreateContainer,
    /// `sdg hook claim-gpu`.
    ClaimGpu,
    /// `sdg hook poststop`.
    Poststop,
    /// `sdg-runtime`, until it becomes the real runtime.
    Runtime,
}

impl Hook {
    /// All, in the order of the page.
    pub const ALL: [Self; 6] = [
        Self::Precreate,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::ClaimGpu,
        Self::Poststop,
        Self::Runtime,
    ];

    /// Value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Precreate => "precreate",
            Self::CreateRuntime => "create_runtime",
            Self::CreateContainer => "create_container",
            Self::ClaimGpu => "claim_gpu",
            Self::Poststop => "poststop",
            Self::Runtime => "runtime",
        }
    }

    fn start(self) -> usize {
        let number = Self::ALL.iter().position(|hook| *hook == self).unwrap_or(0);
        HOOKS_AT + number * HOOK_WORDS
    }
}

/// The page, mapped.
#[derive(Debug)]
pub struct Counters {
    path: PathBuf,
    mapping: Mapping,
}

/// How long a hook took, each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// Calls in each bucket of [`BOUNDS`], and last those that took longer.
    pub buckets: Vec<u64>,
    /// All of them together.
    pub sum: Duration,
}

impl Counters {
    /// Maps the page of a state directory, making both if need be.
    pub fn open(state: &Path) -> Result<Self, FileError> {
        let path = state.join(FILE);
        let open = || {
            let mut options = File::options();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        };
        let file = match open() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_dir(state, 0o755)?;
                open()
            }
            file => file,
        };
        let file = file.map_err(FileError::of("open", &path))?;
        let length = WORDS * WORD;
        // Longer is as good; whoever makes it longer adds zeros.
        if file.metadata().map_err(FileError::of("stat", &path))?.len() < length as u64 {
            file.set_len(length as u64)
                .map_err(FileError::of("truncate", &path))?;
        }
        let mapping = Mapping::new(&file, length, Access::ReadWrite).map_err(FileError::of("map", &path))?;
        Ok(Self { path, mapping })
    }

    /// A slice was placed.
    pub fn placed(&self) -> Result<(), FileError> {
        self.add(0, 1)
    }

    /// A slice or a container was refused.
    pub fn refused(&self, reason: Reason) -> Result<(), FileError> {
        self.add(REASONS_AT + reason.number(), 1)
    }

    /// A hook ended.
    pub fn took(&self, hook: Hook, time: Duration) -> Result<(), FileError> {
        let bucket = BOUNDS
            .iter()
            .position(|bound| time <= *bound)
            .unwrap_or(BOUNDS.len());
        self.add(hook.start() + bucket, 1)?;
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.add(hook.start() + HOOK_WORDS - 1, nanoseconds)
    }

    /// Slices placed.
    pub fn placements(&self) -> Result<u64, FileError> {
        self.word(0)
    }

    /// How often something was refused for a reason.
    pub fn refusals(&self, reason: Reason) -> Result<u64, FileError> {
        self.word(REASONS_AT + reason.number())
    }

    /// How long a hook took.
    pub fn times(&self, hook: Hook) -> Result<Times, FileError> {
        let buckets = (0..=BOUNDS.len()).map(|bucket| self.word(hook.start() + bucket));
        Ok(Times {
            buckets: buckets.collect::<Result<_, _>>()?,
            sum: Duration::from_nanos(self.word(hook.start() + HOOK_WORDS - 1)?),
        })
    }

    fn add(&self, word: usize, value: u64) -> Result<(), FileError> {
        self.mapping
            .add64(word * WORD, value)
            .map_err(FileError::of("add to", &self.path))
    }

    fn word(&self, word: usize) -> Result<u64, FileError> {
        self.mapping
            .word64(word * WORD)
            .map_err(FileError::of("load from", &self.path))
    }
}

/// Counts, if that can be done: what is counted goes on whatever becomes of it.
pub fn count(state: &Path, what: impl FnOnce(&Counters) -> Result<(), FileError>) {
    let _ = Counters::open(state).and_then(|counters| what(&counters));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_several_processes_add_up() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("run/sdg");
        let reader = Counters::open(&state).unwrap();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let state = state.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        count(&state, Counters::placed);
                        count(&state, |counters| counters.refused(Reason::Memory));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(reader.placements().unwrap(), 400);
        let refusals = Reason::ALL.map(|reason| reader.refusals(reason).unwrap());
        assert_eq!(refusals.iter().sum::<u64>(), 400);
        assert_eq!(reader.refusals(Reason::Memory).unwrap(), 400);
    }

    #[test]
    fn times_go_to_the_bucket_that_holds_them() {
        let state = tempfile::tempdir().unwrap();
        let counters = Counters::open(state.path()).unwrap();
        for time in [1, 500_000, 500_001, 6_000_000_000] {
            counters.took(Hook::Poststop, Duration::from_nanos(time)).unwrap();
        }
        let times = counters.times(Hook::Poststop).unwrap();
        assert_eq!(times.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(times.sum, Duration::from_nanos(6_001_000_002));
        assert_eq!(counters.times(Hook::Runtime).unwrap().sum, Duration::ZERO);
    }

    #[test]
    fn counting_never_fails_what_is_counted() {
        count(Path::new("/proc/nowhere"), Counters::placed);
    }
}
