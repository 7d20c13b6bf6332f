//! A new slice.

use std::collections::HashSet;
use std::path::Path;

use crate::counters::{self, Counters, Reason};
use crate::dmem::{self, Limit};
use crate::edits::{self, ContainerEdits, EDITS_FILE, EditInputs, Guard, HookStage, PRELOAD_FILE};
use crate::enforcement::{self, Holding};
use crate::files::write_whole;
use crate::host::{Host, now};
use crate::inventory::{DeviceFiles, Gpu, Inventory};
use crate::ledger::pages::{self, InForce, PageGpu};
use crate::ledger::record::{Holder, RECORD_VERSION, SliceRecord};
use crate::ledger::store::{Ledger, LedgerError, Locked};
use crate::lifecycle::in_force::{ATTEMPTS, Outcome, Scope, Unanswered, put_in_force};
use crate::lifecycle::limits::{self, SliceUse};
use crate::lifecycle::upkeep::{Survivors, rebalance, remaining};
use crate::lifecycle::{LifecycleError, pod, users};
use crate::placement::{GpuGrant, place as find_place};
use crate::request::{Enforcement, Share, SliceRequest};
use crate::{sys, view};

/// What a slice is made from.
#[derive(Clone, Debug)]
pub struct NewSlice<'a> {
    /// What is asked.
    pub request: SliceRequest,
    /// Who keeps it alive.
    pub holder: Holder,
    /// The ordinary user for whom the broker asks: the slice is his alone.
    pub user: Option<u32>,
    /// A person's name for it.
    pub name: Option<String>,
    /// The image's own preload file.
    pub preload: &'a [u8],
    /// Whether the shim gets into its container; true where the container is not known yet.
    pub covered: bool,
    /// Hooks that its container's runtime is to call.
    pub hooks: &'a [HookStage],
}

/// A slice that is there now.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its record.
    pub record: SliceRecord,
    /// What its container gets.
    pub edits: ContainerEdits,
    /// Who still uses compute units that are this slice's now.
    pub unanswered: Vec<Unanswered>,
}

/// Places a slice and lets it appear. A pod that has one is given that. How it went is counted.
pub fn place(host: &Host, inventory: &Inventory, new: &NewSlice<'_>) -> Result<Placed, LifecycleError> {
    place_or_find(host, inventory, new).inspect_err(|error| {
        counters::count(&host.state, |counters| {
            counters.refused(Reason::of_placing(error))
        });
    })
}

fn place_or_find(host: &Host, inventory: &Inventory, new: &NewSlice<'_>) -> Result<Placed, LifecycleError> {
    if let Some(name) = new.name.as_deref().filter(|name| !is_name(name)) {
        return Err(LifecycleError::BadName(name.to_owned()));
    }
    let guard = guard(host, new)?;
    let ledger = host.ledger();
    let locked = ledger.lock(host.config.lock_timeout())?;
    let survivors = remaining(host, &locked)?;
    if let Some(taken) = survivors
        .kept
        .iter()
        .find(|record| new.name.is_some() && record.name == new.name)
    {
        return Err(LifecycleError::NameTaken {
            name: new.name.clone().unwrap_or_default(),
            id: taken.id.clone(),
        });
    }
    if let Some(there) = pod::held_by_same(&survivors.kept, &new.holder) {
        let edits = read_edits(&ledger, &there.id)?;
        let record = there.clone();
        restore(host, &locked)?;
        return Ok(Placed {
            record,
            edits,
            unanswered: Vec::new(),
        });
    }
    let id = locked.new_id()?;
    let placed = try_place(host, inventory, &locked, (survivors, &id, new, guard.as_ref()));
    if placed.is_err() {
        // The reason of the failure is worth more than that of a failing removal, which the next placement repeats.
        let _ = locked.remove(&id);
        let _ = restore(host, &locked);
    } else {
        counters::count(&host.state, Counters::placed);
    }
    placed
}

/// Where the slice's guarded calls are answered, if it is to be guarded: somebody must be there to answer them, and the
/// container's seccomp profile must be ours to edit.
fn guard(host: &Host, new: &NewSlice<'_>) -> Result<Option<Guard>, LifecycleError> {
    let wanted = host.config.enforcement.max(new.request.enforcement);
    if wanted < Enforcement::Guarded || new.request.share == Share::Whole {
        return Ok(None);
    }
    if new.user.is_some() {
        return Err(LifecycleError::GuardedForUser);
    }
    if !matches!(new.holder, Holder::Placed { .. }) {
        return Err(LifecycleError::NotToBeGuarded);
    }
    let socket = host.guard_socket();
    match std::os::unix::net::UnixStream::connect(&socket) {
        Ok(_) => Ok(Some(Guard { socket })),
        Err(source) => Err(LifecycleError::NoGuard { socket, source }),
    }
}

fn try_place(
    host: &Host,
    inventory: &Inventory,
    locked: &Locked<'_>,
    (survivors, id, new, guard): (Survivors, &str, &NewSlice<'_>, Option<&Guard>),
) -> Result<Placed, LifecycleError> {
    let rules = host.rules();
    let mut slices = limits::with_usage(locked.ledger(), survivors.kept)?;
    for _ in 0..ATTEMPTS {
        let taken: Vec<_> = slices.iter().map(SliceUse::taken).collect();
        let placement = find_place(&new.request, inventory, &taken, &rules)?;
        if let Some(user) = new.user {
            let held = slices.iter().map(|slice| &slice.record);
            users::check(user, held, (&placement.grants, &host.config))?;
        }
        // The cgroups of a user are his own: he could take back what is written there, and give himself guarantees.
        let regions = match new.user {
            None => dmem::enabled_regions(&host.cgroups()),
            Some(_) => Vec::new(),
        };
        let kernel = dmem::limits(&placement.grants, inventory, &regions);
        let record = SliceRecord {
            version: RECORD_VERSION,
            id: id.to_owned(),
            name: new.name.clone(),
            created: now(),
            request: new.request.clone(),
            holder: new.holder.clone(),
            user: new.user,
            enforcement: enforcement::layers(Holding {
                covered: new.covered,
                guarded: guard.is_some(),
                // Of a slice that containers share the kernel limits each, not all together.
                dmem: kernel.is_some()
                    && matches!(new.holder, Holder::Placed { .. } | Holder::Container { .. }),
            }),
            gpus: placement.grants,
        };
        slices.push(SliceUse {
            record: record.clone(),
            used: Vec::new(),
        });
        let granted = record.gpus.iter().map(|grant| grant.uuid.as_str());
        let touched: HashSet<&str> = granted
            .chain(survivors.freed.iter().map(String::as_str))
            .collect();
        let gpus = inventory.gpus.iter();
        let gpus = gpus.filter(|gpu| touched.contains(gpu.uuid.as_str()));
        let planned = limits::plan(gpus, &slices, &rules);
        let own: Vec<InForce> = planned.last().into_iter().flatten().flatten().cloned().collect();
        slices.pop();
        let scope = Scope::Elastic(touched);
        if let Outcome::Done(unanswered) = put_in_force(locked.ledger(), &slices, &planned, &scope)? {
            let new_files = Staged {
                record: &record,
                in_force: &own,
                preload: new.preload,
                hooks: new.hooks,
                guard,
                kernel: kernel.as_deref().unwrap_or_default(),
            };
            let edits = stage(host, inventory, locked, &new_files)?;
            locked.publish(&record)?;
            return Ok(Placed {
                record,
                edits,
                unanswered,
            });
        }
        limits::refresh(locked.ledger(), &mut slices)?;
    }
    // What is lent grows as fast as we look: with the last figures there is no room.
    let taken: Vec<_> = slices.iter().map(SliceUse::taken).collect();
    find_place(&new.request, inventory, &taken, &rules)?;
    Err(LifecycleError::Unsteady)
}

/// Limits as they are without the slice that did not come to be.
fn restore(host: &Host, locked: &Locked<'_>) -> Result<(), LifecycleError> {
    rebalance(host, locked, locked.ledger().records()?, false)
}

/// What a slice's files are made from.
#[derive(Clone, Copy, Debug)]
struct Staged<'a> {
    record: &'a SliceRecord,
    in_force: &'a [InForce],
    preload: &'a [u8],
    hooks: &'a [HookStage],
    guard: Option<&'a Guard>,
    kernel: &'a [Limit],
}

/// Writes all files of a slice but its record.
fn stage(
    host: &Host,
    inventory: &Inventory,
    locked: &Locked<'_>,
    new: &Staged<'_>,
) -> Result<ContainerEdits, LifecycleError> {
    let Staged {
        record,
        in_force,
        preload,
        hooks,
        guard,
        kernel,
    } = *new;
    let shim = host.shim()?;
    let program = host.program()?;
    let minors: Vec<u32> = record.gpus.iter().map(|grant| grant.render_minor).collect();
    let devices = DeviceFiles::read(&host.sysroot, &minors)?;
    let staged = locked.stage(&record.id)?;
    if let Some(user) = record.user {
        sys::let_pass_only(&staged, user).map_err(|source| LifecycleError::Access {
            path: staged.clone(),
            user,
            source,
        })?;
    }
    let mut view = Vec::new();
    let mut page = Vec::new();
    for (position, (grant, limits)) in record.gpus.iter().zip(in_force).enumerate() {
        let Some(gpu) = inventory.gpus.iter().find(|gpu| gpu.uuid == grant.uuid) else {
            continue;
        };
        if grant.memory_limit_bytes < gpu.memory_bytes {
            view.extend(view::plan(
                &host.sysroot,
                gpu,
                position,
                grant.memory_limit_bytes,
            )?);
        }
        page.push((page_gpu(grant, gpu), limits.clone()));
    }
    pages::create(&staged, (devices.kfd.major, devices.kfd.minor), &page)?;
    view::write(&staged, &view)?;
    write_whole(
        &staged.join(PRELOAD_FILE),
        0o444,
        &edits::preload_content(preload),
    )?;
    let directory = locked.ledger().slice_dir(&record.id);
    let edits = edits::plan(&EditInputs {
        slice: &record.id,
        directory: &directory,
        devices: &devices,
        view: &view,
        shim: &shim,
        sysroot: &host.sysroot,
        program: &program,
        hooks,
        is_rootless: record.user.is_some(),
        guard,
        kernel,
    });
    write_edits(&staged, &edits)?;
    Ok(edits)
}

fn page_gpu(grant: &GpuGrant, gpu: &Gpu) -> PageGpu {
    PageGpu {
        gpu_id: grant.gpu_id,
        render_minor: grant.render_minor,
        xcc_count: gpu.grid.xccs,
        memory_total: grant.memory_limit_bytes,
    }
}

fn write_edits(staged: &Path, edits: &ContainerEdits) -> Result<(), LifecycleError> {
    let json = serde_json::to_vec(edits).map_err(|source| LifecycleError::Edits {
        id: edits.slice.clone(),
        source,
    })?;
    Ok(write_whole(&staged.join(EDITS_FILE), 0o644, &json)?)
}

/// What was placed, as it was written down then.
pub fn read_edits(ledger: &Ledger, id: &str) -> Result<ContainerEdits, LedgerError> {
    let path = ledger.slice_dir(id).join(EDITS_FILE);
    let failed = |reason: String| LedgerError::Record {
        id: id.to_owned(),
        path: path.clone(),
        reason,
    };
    let text = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}

/// What CDI takes as a device's name, and no path.
fn is_name(name: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 63 && name.bytes().all(ok) && end(name.bytes().next()) && end(name.bytes().last())
}
