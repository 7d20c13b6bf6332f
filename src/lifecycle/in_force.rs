//! Planned limits → the pages of running slices, in an order that gives nothing twice.
//!
//! ```text
//! what sinks (memory, compute units) → processes say that they have it → what rises
//! ```
//!
//! Memory that a limit no longer allows cannot be allocated from the moment that the page is written; what was taken just
//! before is found in the usage page afterwards. A mask is in force
//! when every process of the slice has set it on its queues and says so in the usage page; a process that does not answer
//! in time (it is stopped, or its shim cannot start a thread) is reported and not waited for again.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::ledger::pages::{InForce, LimitsFile, PageError};
use crate::ledger::store::Ledger;
use crate::ledger::usage::{self, UsageFile};
use crate::lifecycle::limits::SliceUse;
use crate::sys::Access;

/// How long processes have to take a new mask. A queue's takes well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether they have.
const GLANCE: Duration = Duration::from_micros(200);

/// Which pages to look at.
#[derive(Clone, Debug)]
pub enum Scope<'a> {
    /// Slices on these GPUs (by UUID) whose limits depend on others.
    Elastic(HashSet<&'a str>),
    /// All.
    All,
}

/// Processes of a slice that have not said that they have its new mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What a person calls the slice.
    pub slice: String,
    /// Their pids in the container.
    pub pids: Vec<u32>,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        write!(
            f,
            "slice {}: process {} of its container has not taken the new compute units within {} s and uses the old ones \
             until it runs again",
            self.slice,
            pids.join(", "),
            PATIENCE.as_secs()
        )
    }
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force. Who still uses units that were taken away.
    Done(Vec<Unanswered>),
    /// Before its limit sank a slice took more than the plan leaves it: what sinks is in force, nothing has risen, and it
    /// takes another plan.
    Outgrown,
}

/// How often a plan is made anew because running slices took lent memory meanwhile.
pub const ATTEMPTS: u32 = 8;

/// Writes planned limits to the pages that differ. What sinks comes first, so that nothing is lent twice meanwhile.
pub fn put_in_force(
    ledger: &Ledger,
    slices: &[SliceUse],
    planned: &[Vec<Option<InForce>>],
    scope: &Scope<'_>,
) -> Result<Outcome, PageError> {
    let mut changes = Vec::new();
    for (slice, limits) in slices.iter().zip(planned) {
        let wanted = match scope {
            Scope::All => true,
            Scope::Elastic(gpus) => slice.is_elastic() && slice.is_on(gpus),
        };
        if wanted {
            changes.push(Change::read(ledger, slice, limits)?);
        }
    }
    let mut unanswered = step(&changes, |change| (&change.current, &change.lowered))?;
    for change in changes.iter().filter(|change| change.slice.borrows()) {
        if change.is_outgrown()? {
            return Ok(Outcome::Outgrown);
        }
    }
    unanswered.extend(step(&changes, |change| (&change.lowered, &change.target))?);
    unanswered.dedup();
    Ok(Outcome::Done(unanswered))
}

/// Waits until the processes of a slice have the masks that are in force; says who has not in time.
pub fn answers(ledger: &Ledger, slice: &str, id: &str) -> Result<Vec<Unanswered>, PageError> {
    let directory = ledger.slice_dir(id);
    wait(vec![Awaited {
        slice,
        generation: LimitsFile::open(&directory, Access::Read)?.generation()?,
        usage: UsageFile::open(&directory)?,
    }])
}

/// What becomes of a slice's page.
struct Change<'a> {
    slice: &'a SliceUse,
    directory: PathBuf,
    page: LimitsFile,
    current: Vec<InForce>,
    lowered: Vec<InForce>,
    target: Vec<InForce>,
}

impl<'a> Change<'a> {
    fn read(ledger: &Ledger, slice: &'a SliceUse, planned: &[Option<InForce>]) -> Result<Self, PageError> {
        let directory = ledger.slice_dir(&slice.record.id);
        let page = LimitsFile::open(&directory, Access::ReadWrite)?;
        let current = page.read()?;
        // Where there is no plan, what is in force stays.
        let pairs = planned.iter().zip(&current);
        let target: Vec<InForce> = pairs
            .map(|(planned, current)| planned.as_ref().unwrap_or(current).clone())
            .collect();
        let lowered = lowered(&page, &current, &target)?;
        Ok(Self {
            slice,
            directory,
            page,
            current,
            lowered,
            target,
        })
    }

    /// Whether the slice uses more than the plan leaves it. What a container claims beyond its ceiling does not count: it
    /// cannot be had.
    fn is_outgrown(&self) -> Result<bool, PageError> {
        let used = usage::read(&self.directory, &self.slice.record.gpus)?.used;
        let grants = self.slice.record.gpus.iter();
        let mut places = used.iter().zip(grants).zip(&self.target);
        Ok(places.any(|((used, grant), target)| (*used).min(grant.memory_limit_bytes) > target.memory_limit))
    }
}

/// The target with no more than is in force. Where target and present have too few units in common, which only a
/// rectangle's move brings about, the present ones stay until the others have made room.
fn lowered(page: &LimitsFile, current: &[InForce], target: &[InForce]) -> Result<Vec<InForce>, PageError> {
    let pairs = current.iter().zip(target).enumerate();
    pairs
        .map(|(gpu, (current, target))| {
            let common = target.mask.intersection(&current.mask);
            let mask = if page.covers(gpu, &common)? {
                common
            } else {
                current.mask.clone()
            };
            Ok(InForce {
                memory_limit: target.memory_limit.min(current.memory_limit),
                mask,
            })
        })
        .collect()
}

/// Goes from one state of all pages to the next, and waits for the processes that lose units by it.
fn step(
    changes: &[Change<'_>],
    states: impl for<'a> Fn(&'a Change<'_>) -> (&'a Vec<InForce>, &'a Vec<InForce>),
) -> Result<Vec<Unanswered>, PageError> {
    let mut losers = Vec::new();
    for change in changes {
        let (before, after) = states(change);
        change.page.change(after)?;
        let mut pairs = before.iter().zip(after);
        if pairs.any(|(before, after)| !before.mask.without(&after.mask).is_empty()) {
            losers.push(Awaited {
                slice: change.slice.label(),
                generation: change.page.generation()?,
                usage: UsageFile::open(&change.directory)?,
            });
        }
    }
    wait(losers)
}

/// A slice whose processes have a new mask to set.
struct Awaited<'a> {
    slice: &'a str,
    generation: u64,
    usage: UsageFile,
}

fn wait(mut losers: Vec<Awaited<'_>>) -> Result<Vec<Unanswered>, PageError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut late = Vec::new();
        let mut unanswered = Vec::new();
        for loser in losers {
            let pids = loser.usage.behind(loser.generation)?;
            if !pids.is_empty() {
                let slice = loser.slice.to_owned();
                unanswered.push(Unanswered { slice, pids });
                late.push(loser);
            }
        }
        if late.is_empty() || Instant::now() >= end {
            return Ok(unanswered);
        }
        losers = late;
        std::thread::sleep(GLANCE);
    }
}
