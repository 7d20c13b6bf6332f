//! CRI-O's hooks.d: a container that asks by annotations gets its slice from hooks alone.
//!
//! ```text
//! create-runtime ─ state, bundle's config ─→ request → slice, held by the container → its device cgroup
//! create-container ─ the slice that the container holds ─→ device nodes and mounts → are they in force?
//! poststop ─ all that the container holds is released (hook_poststop.rs)
//! ```
//!
//! A container that came by another door as well (the runtime handler, a CDI name) has its slice already: then these
//! hooks do nothing.

use std::path::{Path, PathBuf};

use crate::apply::claims::Claims;
use crate::apply::{conflicts, in_force, live, user_namespace};
use crate::commands::hook_create_container;
use crate::commands::place_in_spec::{give_up, is_sandbox, request_of};
use crate::commands::{CommandError, place_slice, read_edits, read_state, workload};
use crate::edits::{ContainerEdits, HookStage};
use crate::host::Host;
use crate::inventory::Detail;
use crate::ledger::record::{Holder, ProcessIdentity};
use crate::lifecycle::{LifecycleError, NewSlice};
use crate::oci::config::Spec;
use crate::oci::preload;
use crate::oci::state::State;
use crate::{coverage, enforcement};

/// A hook's container: its state and its config.
struct Called {
    state: State,
    bundle: PathBuf,
    spec: Spec,
}

impl Called {
    fn read() -> Result<Self, CommandError> {
        let state = read_state()?;
        let bundle = state.bundle.clone().ok_or_else(|| missing("bundle"))?;
        let spec = in_force::read_spec(&bundle).map_err(|error| CommandError::State(error.to_string()))?;
        Ok(Self { state, bundle, spec })
    }

    /// Whether the container's slice is somebody else's business.
    fn is_not_ours(&self) -> bool {
        is_sandbox(&self.spec) || !Claims::of(&self.spec).slices.is_empty()
    }
}

fn missing(what: &str) -> CommandError {
    CommandError::State(format!("no {what}"))
}

/// Places a slice for a container that asks, and lets it open the devices.
pub fn create_runtime(host: &Host) -> Result<(), CommandError> {
    let called = Called::read()?;
    if called.is_not_ours() {
        return Ok(());
    }
    let Some(request) = request_of(&called.spec)? else {
        return Ok(());
    };
    Claims::of(&called.spec).check_annotations()?;
    user_namespace::check(&called.spec)?;
    let pid = called
        .state
        .pid
        .filter(|pid| *pid > 0)
        .ok_or_else(|| missing("pid"))?;
    let process = ProcessIdentity::of(pid).ok().flatten();
    let process = process.ok_or_else(|| LifecycleError::NoProcess {
        container: called.state.id.clone(),
        pid,
    })?;
    let preload = preload::read(&called.spec, &called.bundle)?;
    let coverage = coverage::of_spec(&called.spec, &called.bundle);
    let inventory = host.inventory(Detail::Placement)?;
    let new = NewSlice {
        request,
        holder: Holder::Container {
            container: called.state.id.clone(),
            process,
        },
        user: None,
        name: None,
        preload: &preload,
        covered: coverage.is_ok(),
        hooks: HookStage::ALL,
    };
    let placed = place_slice(host, &inventory, &new)?;
    workload::note(host, &placed.record, &called.spec);
    let held = enforcement::check(coverage, &placed.record, &host.config).map_err(CommandError::from);
    held.and_then(|()| open_devices(host, &placed.edits, (&called.spec, pid)))
        .inspect_err(|_| give_up(host, &placed.record.id))
}

fn open_devices(host: &Host, edits: &ContainerEdits, (spec, pid): (&Spec, i32)) -> Result<(), CommandError> {
    let cgroups = host.cgroups();
    if let Some(conflict) = conflicts::find(spec, &edits.devices) {
        return Err(conflict.into());
    }
    live::allow_devices(edits, pid, &cgroups)?;
    in_force::check_devices(edits, pid, &cgroups).map_err(|source| CommandError::NotInForce {
        slice: edits.slice.clone(),
        source,
    })
}

/// Puts devices and files of the slice that the container holds in place, and looks whether they are.
pub fn create_container(host: &Host) -> Result<(), CommandError> {
    let called = Called::read()?;
    if called.is_not_ours() || request_of(&called.spec)?.is_none() {
        return Ok(());
    }
    let slice = held_slice(host, &called.state.id)?;
    let edits = read_edits(host, &slice)?;
    let rootfs = called
        .spec
        .root(&called.bundle)
        .unwrap_or_else(|| Path::new("/").to_owned());
    live::put_in_place(&edits, &rootfs)?;
    let root = in_force::root_from_inside(&rootfs)
        .and_then(|root| in_force::check_mounts(&edits, &root).map(|()| root))
        .map_err(|source| CommandError::NotInForce {
            slice: slice.clone(),
            source,
        })?;
    let record = host.ledger().record(&slice)?;
    hook_create_container::check_coverage(host, &record, (&called.spec, root))
}

fn held_slice(host: &Host, container: &str) -> Result<String, CommandError> {
    let records = host.ledger().records()?;
    let held = records.into_iter().find(
        |record| matches!(&record.holder, Holder::Container { container: holder, .. } if holder == container),
    );
    held.map(|record| record.id).ok_or_else(|| {
        CommandError::State(format!(
            "container {container} asks for a slice and has none: its createRuntime hook was not called"
        ))
    })
}
