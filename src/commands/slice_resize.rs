//! `sdg slice resize`.

use std::time::Duration;

use crate::cli::ResizeOptions;
use crate::commands::{
    CommandError, cdi, complain, print, read_edits, slice_list, warn_small, warn_unanswered,
};
use crate::host::Host;
use crate::ledger::record::SliceRecord;
use crate::lifecycle::{self, InUse, Resize, Resized};
use crate::placement::GpuGrant;
use crate::request::{self, ComputeRequest, LEAST_MEMORY, Share};
use crate::units::Bytes;

/// How often it is looked whether memory was freed.
const GLANCE: Duration = Duration::from_millis(100);

/// Changes a slice's memory and compute units, and says what became of it. A ceiling alone leaves the guarantee.
pub fn run(host: &Host, options: &ResizeOptions) -> Result<(), CommandError> {
    let changed = change(host, options)?;
    warn_unanswered(&changed.after.unanswered);
    warn_small(changed.after.small);
    if options.output.json {
        return slice_list::show_record(host, &changed.after.record, options.output);
    }
    print(changed.text().as_bytes())
}

/// A slice before and after its resize.
pub struct Changed {
    before: SliceRecord,
    /// What became of it.
    pub after: Resized,
}

impl Changed {
    /// A line for each GPU.
    pub fn text(&self) -> String {
        let pairs = self.before.gpus.iter().zip(&self.after.record.gpus);
        pairs.map(|(before, after)| line(before, after)).collect()
    }
}

/// Changes a slice, and its CDI file with it.
pub fn change(host: &Host, options: &ResizeOptions) -> Result<Changed, CommandError> {
    let before = slice_list::find(host, &options.slice)?;
    let wanted = wanted(&before, options)?;
    let after = follow(host, &before, &wanted)?;
    if let Some(name) = after.record.name.as_ref().filter(|_| wanted.compute.is_some()) {
        cdi::write_slice(host, name, &read_edits(host, &after.record.id)?)?;
    }
    Ok(Changed { before, after })
}

/// Resizes until all is as wanted; without `--wait` that is at once or never. Ended before, the slice keeps the size that it
/// has reached.
fn follow(host: &Host, record: &SliceRecord, wanted: &Resize) -> Result<Resized, CommandError> {
    let mut said = None;
    loop {
        let resized = lifecycle::resize(host, &record.id, wanted)?;
        let Some(used) = resized.in_use else {
            return Ok(resized);
        };
        if said != Some(used) {
            complain(&format!(
                "slice {}: waiting, it still uses {}",
                record.id,
                Bytes(used)
            ));
            said = Some(used);
        }
        std::thread::sleep(GLANCE);
    }
}

fn wanted(record: &SliceRecord, options: &ResizeOptions) -> Result<Resize, CommandError> {
    let Share::Part { memory, compute } = record.request.share else {
        let reason = "it has whole GPUs, which have no other size".to_owned();
        let id = record.id.clone();
        return Err(lifecycle::LifecycleError::Resize { id, reason }.into());
    };
    let has_memory = options.memory.is_some() || options.memory_limit.is_some();
    let has_compute = options.compute.is_some() || options.compute_limit.is_some();
    // A slice of 0.1.0 may have less than can be asked for.
    let kept_memory = memory.guarantee.max(LEAST_MEMORY).to_string();
    let kept_compute = match compute {
        ComputeRequest::Guaranteed { guarantee, .. } => Some(guarantee.to_string()),
        ComputeRequest::BestEffort => None,
    };
    let given = [
        ("sdg.memory", options.memory.as_ref().or(Some(&kept_memory))),
        ("sdg.memoryLimit", options.memory_limit.as_ref()),
        ("sdg.compute", options.compute.as_ref().or(kept_compute.as_ref())),
        ("sdg.computeLimit", options.compute_limit.as_ref()),
    ];
    let pairs = given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?.as_str())));
    let share = request::parse(pairs)?.map(|request| request.share);
    let Some(Share::Part { memory, compute }) = share else {
        return Err(CommandError::Usage(
            "say what is to change, e.g. --memory 20Gi".to_owned(),
        ));
    };
    let compute = match compute {
        ComputeRequest::Guaranteed { guarantee, limit } => Some((guarantee, limit)),
        ComputeRequest::BestEffort => None,
    };
    Ok(Resize {
        memory: has_memory.then_some(memory),
        compute: compute.filter(|_| has_compute),
        in_use: if options.wait {
            InUse::Follow
        } else {
            InUse::Refuse
        },
    })
}

/// What became of the slice's part of a GPU: `GPU 0: memory 10Gi → 20Gi; compute 36 → 72 units, delivering 72`.
fn line(before: &GpuGrant, after: &GpuGrant) -> String {
    let change = |before: String, after: String| {
        if before == after {
            format!("{after} as before")
        } else {
            format!("{before} → {after}")
        }
    };
    format!(
        "GPU {}: memory {}; compute {}, delivering {}\n",
        after.index,
        change(memory_text(before), memory_text(after)),
        change(units_text(before), units_text(after)),
        after.effective_units
    )
}

fn memory_text(grant: &GpuGrant) -> String {
    let (guarantee, limit) = (Bytes(grant.memory_bytes), Bytes(grant.memory_limit_bytes));
    if grant.memory_bytes == grant.memory_limit_bytes {
        guarantee.to_string()
    } else {
        format!("{guarantee} to {limit}")
    }
}

fn units_text(grant: &GpuGrant) -> String {
    match (&grant.rect, grant.compute_units, grant.compute_limit_units) {
        (None, ..) => "best effort".to_owned(),
        (Some(_), units, limit) if units == limit => format!("{units} units"),
        (Some(_), units, limit) => format!("{units} to {limit} units"),
    }
}
