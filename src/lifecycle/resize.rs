//! Other amounts of memory and compute for a slice, while its container runs. All of it or nothing.
//!
//! ```text
//! record, what is wanted → new record (pure) → pages: what sinks, answers, what rises → record, view, edits
//! ```
//!
//! While pages change the record says the larger of old and new memory, and the ledger is marked unsettled: a kill in
//! between leaves memory unused and never promised twice, and the next command puts pages and masks right.

use crate::edits::EDITS_FILE;
use crate::files::{FileError, write_whole};
use crate::host::Host;
use crate::inventory::{Detail, Inventory};
use crate::ledger::pages::LimitsFile;
use crate::ledger::record::SliceRecord;
use crate::ledger::store::{LedgerError, Locked};
use crate::ledger::usage;
use crate::lifecycle::in_force::{ATTEMPTS, Outcome, Scope, Unanswered, answers, put_in_force};
use crate::lifecycle::limits::{self, SliceUse};
use crate::lifecycle::place::read_edits;
use crate::lifecycle::upkeep::remaining;
use crate::lifecycle::{LifecycleError, kernel_memory};
use crate::placement::{GpuGrant, Taken, TooSmall, regrant};
use crate::request::{ComputeRequest, MemoryRequest, Millis, Share};
use crate::sys::Access;
use crate::units::Bytes;
use crate::view;

/// What becomes of a limit below what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUse {
    /// It is refused.
    Refuse,
    /// The memory's limit sinks to what is in use, so that none can be taken again, and nothing else changes.
    Follow,
}

/// What a slice is to have on each of its GPUs; what is absent stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Memory.
    pub memory: Option<MemoryRequest>,
    /// Compute units: guarantee and limit.
    pub compute: Option<(Millis, Millis)>,
    /// Where the memory wanted is less than what is in use.
    pub in_use: InUse,
}

/// What became of a resize.
#[derive(Clone, Debug)]
pub struct Resized {
    /// The slice before.
    pub before: SliceRecord,
    /// The slice now.
    pub record: SliceRecord,
    /// Bytes in use that keep the slice larger than wanted; none where all is as wanted.
    pub in_use: Option<u64>,
    /// Who has not yet taken the new compute units.
    pub unanswered: Vec<Unanswered>,
    /// Where programs find no room for their data now.
    pub small: Option<TooSmall>,
}

/// Gives a slice other amounts of memory and compute, at once.
pub fn resize(host: &Host, id: &str, wanted: &Resize) -> Result<Resized, LifecycleError> {
    let ledger = host.ledger();
    let locked = ledger.lock(host.config.lock_timeout())?;
    let records = remaining(host, &locked)?.kept;
    let inventory = host.inventory(Detail::Placement)?;
    let mut others = limits::with_usage(&ledger, records)?;
    let at = others
        .iter()
        .position(|slice| slice.record.id == id)
        .ok_or_else(|| LedgerError::NoSlice(id.to_owned()))?;
    let old = others.remove(at).record;
    let under_way = UnderWay {
        host,
        locked: &locked,
        inventory: &inventory,
        others,
        at,
    };
    let (wanted, in_use) = under_way.as_use_allows(&old, wanted)?;
    let new = under_way
        .plan(&old, &wanted)
        .map_err(|reason| LifecycleError::Resize {
            id: id.to_owned(),
            reason,
        })?;
    let small = TooSmall::first(&new.gpus, &inventory);
    if new == old {
        return Ok(Resized {
            before: old,
            record: new,
            in_use,
            unanswered: Vec::new(),
            small,
        });
    }
    let unanswered = under_way.change(&old, &new)?;
    // What is busy the next reap settles: by the shim's limit nobody can take more meanwhile.
    kernel_memory::settle(host, &new).map_err(|error| LifecycleError::KernelBehind {
        id: id.to_owned(),
        source: Box::new(error),
    })?;
    Ok(Resized {
        before: old,
        record: new,
        in_use,
        unanswered,
        small,
    })
}

/// A resize with what it looks at.
struct UnderWay<'a> {
    host: &'a Host,
    locked: &'a Locked<'a>,
    inventory: &'a Inventory,
    /// Every other slice, oldest first.
    others: Vec<SliceUse>,
    /// Where the slice belongs among them.
    at: usize,
}

impl UnderWay<'_> {
    /// Bytes in use on the GPU where most are.
    fn used(&self, record: &SliceRecord) -> Result<u64, LifecycleError> {
        let directory = self.locked.ledger().slice_dir(&record.id);
        let used = usage::read(&directory, &record.gpus)?.used;
        Ok(used.into_iter().max().unwrap_or(0))
    }

    /// Memory in use beyond a slice's limit would be counted for nobody, so a limit never sinks below what is in use.
    fn as_use_allows(
        &self,
        old: &SliceRecord,
        wanted: &Resize,
    ) -> Result<(Resize, Option<u64>), LifecycleError> {
        let Some(memory) = wanted.memory else {
            return Ok((*wanted, None));
        };
        let used = self.used(old)?;
        if used <= memory.limit {
            return Ok((*wanted, None));
        }
        if wanted.in_use == InUse::Refuse {
            return Err(below_use(old, used, memory.limit));
        }
        let guarantee = old.gpus.first().map_or(0, |grant| grant.memory_bytes);
        let follow = MemoryRequest {
            guarantee: memory.guarantee.max(guarantee.min(used)),
            limit: used,
        };
        let wanted = Resize {
            memory: Some(follow),
            compute: None,
            ..*wanted
        };
        Ok((wanted, Some(used)))
    }

    /// The slice as it is to be, or why that cannot be.
    fn plan(&self, old: &SliceRecord, wanted: &Resize) -> Result<SliceRecord, String> {
        if old.gpus.iter().any(|grant| grant.exclusive) {
            return Err("it has whole GPUs, which have no other size".to_owned());
        }
        let mut new = old.clone();
        if let Some(memory) = wanted.memory {
            for grant in &old.gpus {
                self.check_memory(grant, memory)?;
            }
            new = with_memory(&new, |_| memory);
        }
        if let Some((guarantee, limit)) = wanted.compute {
            let rules = self.host.rules();
            let taken: Vec<Taken<'_>> = self.others.iter().map(SliceUse::taken).collect();
            for grant in &mut new.gpus {
                *grant = regrant(grant, (guarantee, limit), (self.inventory, &taken), &rules)
                    .map_err(|error| error.to_string())?;
            }
            if let Share::Part { compute, .. } = &mut new.request.share {
                *compute = ComputeRequest::Guaranteed { guarantee, limit };
            }
        }
        Ok(new)
    }

    fn check_memory(&self, grant: &GpuGrant, memory: MemoryRequest) -> Result<(), String> {
        let gpu = self.inventory.gpus.iter().find(|gpu| gpu.uuid == grant.uuid);
        let gpu = gpu.ok_or_else(|| format!("GPU {} cannot be read now", grant.uuid))?;
        let capacity = gpu.memory_bytes.saturating_sub(self.host.config.reserved_memory);
        if memory.limit > capacity {
            return Err(format!(
                "a limit of {} is more than GPU {} has for slices ({})",
                Bytes(memory.limit),
                grant.index,
                Bytes(capacity)
            ));
        }
        let room = capacity.saturating_sub(limits::held(&gpu.uuid, &self.others));
        if memory.guarantee > room {
            return Err(format!(
                "asked {} on GPU {}; at most {} can be guaranteed there beside the other slices{}",
                Bytes(memory.guarantee),
                grant.index,
                Bytes(room),
                limits::borrowers(&gpu.uuid, &self.others)
            ));
        }
        Ok(())
    }

    /// Makes the record true. What fails on the way leaves the slice as it was.
    fn change(&self, old: &SliceRecord, new: &SliceRecord) -> Result<Vec<Unanswered>, LifecycleError> {
        self.check_files(old)?;
        self.locked.unsettle()?;
        let changed = self.carry_out(old, new);
        if changed.is_ok() || self.put_back(old, new).is_ok() {
            // Where this fails the next command finds everything right and does it.
            let _ = self.locked.settle();
        }
        changed
    }

    /// A file of another version, or a spoiled one, stops a resize before anything has changed: no other command could put
    /// back what it stands in the way of.
    fn check_files(&self, record: &SliceRecord) -> Result<(), LifecycleError> {
        let ledger = self.locked.ledger();
        read_edits(ledger, &record.id)?;
        let slices = self.others.iter().map(|slice| &slice.record).chain([record]);
        for slice in slices {
            LimitsFile::open(&ledger.slice_dir(&slice.id), Access::ReadWrite)?;
        }
        Ok(())
    }

    fn carry_out(&self, old: &SliceRecord, new: &SliceRecord) -> Result<Vec<Unanswered>, LifecycleError> {
        self.locked.rewrite(&with_memory(new, |memory| MemoryRequest {
            guarantee: memory.guarantee.max(memory_of(old).guarantee),
            limit: memory.limit.max(memory_of(old).limit),
        }))?;
        let mut unanswered = self.put(new)?;
        // Until limits sank a moment ago, this slice and those that were lent memory could still allocate.
        self.still_fits(new)?;
        // The others have been waited for where they lost units; the slice itself is to have what this says it has.
        let own = answers(self.locked.ledger(), label(new), &new.id)?;
        unanswered.retain(|slice| own.iter().all(|own| own.slice != slice.slice));
        unanswered.extend(own);
        // The record last: as long as it is not the new one, trying again does all of it again.
        self.tell_programs(old, new)?;
        self.locked.rewrite(new)?;
        Ok(unanswered)
    }

    fn put_back(&self, old: &SliceRecord, new: &SliceRecord) -> Result<(), LifecycleError> {
        self.put(old)?;
        self.tell_programs(new, old)?;
        Ok(self.locked.rewrite(old)?)
    }

    fn put(&self, record: &SliceRecord) -> Result<Vec<Unanswered>, LifecycleError> {
        let ledger = self.locked.ledger();
        let mut slices = self.others.clone();
        let used = usage::read(&ledger.slice_dir(&record.id), &record.gpus)?.used;
        let record = record.clone();
        slices.insert(self.at, SliceUse { record, used });
        for _ in 0..ATTEMPTS {
            let planned = limits::plan(&self.inventory.gpus, &slices, &self.host.rules());
            match put_in_force(ledger, &slices, &planned, &Scope::All)? {
                Outcome::Done(unanswered) => return Ok(unanswered),
                Outcome::Outgrown => limits::refresh(ledger, &mut slices)?,
            }
        }
        Err(LifecycleError::Unsteady)
    }

    fn still_fits(&self, new: &SliceRecord) -> Result<(), LifecycleError> {
        let (used, limit) = (self.used(new)?, memory_of(new).limit);
        if used > limit {
            return Err(below_use(new, used, limit));
        }
        let records = self.others.iter().map(|slice| slice.record.clone());
        let records = records.chain([new.clone()]).collect();
        let slices = limits::with_usage(self.locked.ledger(), records)?;
        if limits::fits(self.inventory, &slices, &self.host.rules()) {
            Ok(())
        } else {
            Err(LifecycleError::Unsteady)
        }
    }

    /// The files that programs read: those that have read them keep what they read.
    fn tell_programs(&self, old: &SliceRecord, new: &SliceRecord) -> Result<(), LifecycleError> {
        let page = LimitsFile::open(&self.locked.ledger().slice_dir(&new.id), Access::ReadWrite)?;
        if memory_of(old) != memory_of(new) {
            self.rewrite_view(new)?;
            // After the view: a process that begins in between knows the smaller total, and is told of no more than that.
            page.set_total(memory_of(new).limit)?;
        }
        self.rewrite_edits(new)
    }

    fn rewrite_view(&self, record: &SliceRecord) -> Result<(), LifecycleError> {
        let directory = self.locked.ledger().slice_dir(&record.id);
        for (position, grant) in record.gpus.iter().enumerate() {
            let Some(gpu) = self.inventory.gpus.iter().find(|gpu| gpu.uuid == grant.uuid) else {
                continue;
            };
            let there = directory.join(view::DIRECTORY).join(position.to_string());
            if there.try_exists().map_err(FileError::of("stat", &there))? {
                let files = view::plan(&self.host.sysroot, gpu, position, grant.memory_limit_bytes)?;
                view::rewrite(&directory, &files)?;
            }
        }
        Ok(())
    }

    /// Containers that join a slice that version 0.1.0 made are not told of compute units that it no longer has.
    fn rewrite_edits(&self, record: &SliceRecord) -> Result<(), LifecycleError> {
        let ledger = self.locked.ledger();
        let path = ledger.slice_dir(&record.id).join(EDITS_FILE);
        let failed = |source| LifecycleError::Edits {
            id: record.id.clone(),
            source,
        };
        let mut edits = read_edits(ledger, &record.id)?;
        if edits.env.is_empty() {
            return Ok(());
        }
        edits.env.clear();
        let text = serde_json::to_vec(&edits).map_err(failed)?;
        let next = path.with_extension("next");
        write_whole(&next, 0o644, &text)?;
        Ok(std::fs::rename(&next, &path).map_err(FileError::of("rename to", &path))?)
    }
}

fn below_use(record: &SliceRecord, used: u64, limit: u64) -> LifecycleError {
    LifecycleError::BelowUse {
        id: record.id.clone(),
        used: Bytes(used),
        limit: Bytes(limit),
    }
}

fn label(record: &SliceRecord) -> &str {
    record.name.as_deref().unwrap_or(&record.id)
}

/// The memory that a slice has on each of its GPUs.
fn memory_of(record: &SliceRecord) -> MemoryRequest {
    let grant = record.gpus.first();
    MemoryRequest {
        guarantee: grant.map_or(0, |grant| grant.memory_bytes),
        limit: grant.map_or(0, |grant| grant.memory_limit_bytes),
    }
}

fn with_memory(record: &SliceRecord, change: impl Fn(MemoryRequest) -> MemoryRequest) -> SliceRecord {
    let mut record = record.clone();
    for grant in &mut record.gpus {
        let memory = change(MemoryRequest {
            guarantee: grant.memory_bytes,
            limit: grant.memory_limit_bytes,
        });
        grant.memory_bytes = memory.guarantee;
        grant.memory_limit_bytes = memory.limit;
    }
    if let Share::Part { memory, .. } = &mut record.request.share {
        *memory = change(*memory);
    }
    record
}
