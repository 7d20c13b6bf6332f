//! `sdg hook create-runtime`: is what was placed in force? Then the container gets its slice, else it does not start.
//!
//! ```text
//! state on stdin → bundle's config, device cgroup and the kernel's limit of memory against the slice's edits → claim
//!                  the container's files too, where no createContainer hook looks at them
//! ```

use crate::apply::claims::{self, Claims};
use crate::apply::in_force::NotInForce;
use crate::apply::{conflicts, in_force, spec, user_namespace};
use crate::commands::hook_create_container::check_coverage;
use crate::commands::{CommandError, brokered, complain, read_edits, read_state};
use crate::dmem::Outcome;
use crate::edits::{ContainerEdits, HookStage};
use crate::enforcement::DMEM;
use crate::host::Host;
use crate::ledger::record::{Holder, SliceRecord};
use crate::lifecycle::{Claim, LifecycleError, kernel_memory};
use crate::oci::config::Spec;
use crate::oci::state::State;
use crate::request;

/// Runs the hook.
pub fn run(host: &Host, slice: &str) -> Result<(), CommandError> {
    let state = read_state()?;
    check_and_claim(host, slice, &state).inspect_err(|error| {
        // The slice of another container is not ours to release, and one that is not understood cannot be.
        let foreign = matches!(
            error,
            CommandError::Lifecycle(LifecycleError::Claimed { .. } | LifecycleError::Ledger(_))
        );
        let releasable = !foreign && host.ledger().record(slice).is_ok();
        if releasable && let Err(error) = brokered::release(host, slice, Some(&state.id)) {
            complain(&format!("slice {slice} is left to the next reap: {error}"));
        }
    })
}

fn check_and_claim(host: &Host, slice: &str, state: &State) -> Result<(), CommandError> {
    let missing = |what: &str| CommandError::State(format!("no {what}"));
    let pid = state.pid.filter(|pid| *pid > 0).ok_or_else(|| missing("pid"))?;
    let bundle = state.bundle.as_deref().ok_or_else(|| missing("bundle"))?;
    let edits = read_edits(host, slice)?;
    if edits.has_hook(HookStage::CreateContainer) {
        user_namespace::check_process(pid, bundle)?;
    }
    let not_in_force = |source| CommandError::NotInForce {
        slice: slice.to_owned(),
        source,
    };
    let spec = in_force::read_spec(bundle).map_err(not_in_force)?;
    Claims::of(&spec).check()?;
    let record = host.ledger().record(slice)?;
    if matches!(record.holder, Holder::Named | Holder::Pod { .. }) {
        check_joined(&record, &edits, &spec)?;
    }
    in_force::check_spec(&edits, &spec).map_err(not_in_force)?;
    // A rootless runtime has no device cgroup: only device nodes that it binds are in the container, which can make none.
    let is_rootless = record.user.is_some();
    if !is_rootless {
        in_force::check_devices(&edits, pid, &host.cgroups()).map_err(not_in_force)?;
    }
    if !edits.has_hook(HookStage::CreateContainer) {
        let rootfs = spec.root(bundle).unwrap_or_default();
        let root = in_force::root_of_process(pid, &rootfs).map_err(not_in_force)?;
        in_force::check_mounts(&edits, &root).map_err(not_in_force)?;
        check_coverage(host, &record, (&spec, root))?;
    }
    if !is_rootless {
        limit_memory(host, &record, pid).map_err(not_in_force)?;
    }
    let claim = Claim {
        container: &state.id,
        pid,
    };
    brokered::claim(host, slice, (claim, &spec))
}

/// The kernel's limit of memory, where it has one: written unless the runtime has done so by the spec, and looked at.
fn limit_memory(host: &Host, record: &SliceRecord, pid: i32) -> Result<(), NotInForce> {
    let reason = match kernel_memory::limit(host, record, pid) {
        Ok(Some(Outcome::InForce)) => return Ok(()),
        Ok(Some(Outcome::Busy)) => "more than the limit is in use already".to_owned(),
        Ok(None) => "the GPU is no longer in dmem.capacity".to_owned(),
        Err(error) => error.to_string(),
    };
    match record.enforcement.iter().any(|layer| layer == DMEM) {
        true => Err(NotInForce::Memory { reason }),
        // Nobody relies on it.
        false => Ok(()),
    }
}

/// A slice that containers share came into the spec without us: what is refused where we edit a spec is refused here.
fn check_joined(record: &SliceRecord, edits: &ContainerEdits, spec: &Spec) -> Result<(), CommandError> {
    if let Some(conflict) = conflicts::find(spec, &edits.devices) {
        return Err(conflict.into());
    }
    if let Some(variable) = spec::unwanted_variable(edits, spec) {
        return Err(CommandError::Usage(format!(
            "the container has the variable {variable}, which leads past its slice: leave it out"
        )));
    }
    // A pod asks by labels as well, which the spec does not have.
    if record.holder == Holder::Named
        && let Some(asked) = request::parse(spec.annotations())?
    {
        claims::agree(&asked, &record.id, &record.request)?;
    }
    Ok(())
}
