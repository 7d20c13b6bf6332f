//! `sdg hook claim-gpu`: whole GPUs that a container has by a device name. It starts only if no slice is on them and no
//! other container has them; as long as it runs no slice gets there.
//!
//! ```text
//! state on stdin → bundle's config: names, conflicts → a record for each GPU, held by the container
//! ```

use crate::apply::claims::Claims;
use crate::apply::{conflicts, in_force};
use crate::commands::{CommandError, complain, place_slice, read_state};
use crate::edits::HookStage;
use crate::host::Host;
use crate::inventory::{Detail, DeviceFiles, GpuSelector, Inventory};
use crate::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use crate::lifecycle::{self, LifecycleError, NewSlice};
use crate::oci::config::Spec;
use crate::oci::state::State;
use crate::request::{Enforcement, PlacementPolicy, Share, SliceRequest};

/// Runs the hook.
pub fn run(host: &Host, gpus: &[String]) -> Result<(), CommandError> {
    let state = read_state()?;
    let missing = |what: &str| CommandError::State(format!("no {what}"));
    let bundle = state.bundle.as_deref().ok_or_else(|| missing("bundle"))?;
    let holder = holder(&state)?;
    let inventory = host.inventory(Detail::Placement)?;
    let spec = in_force::read_spec(bundle).map_err(|error| CommandError::State(error.to_string()))?;
    check(host, &inventory, &spec)?;
    let mut placed = Vec::new();
    for uuid in gpus {
        // A GPU may be named twice: by its index and by its UUID.
        if host
            .ledger()
            .records()?
            .iter()
            .any(|record| holds(record, &holder, uuid))
        {
            continue;
        }
        let new = NewSlice {
            request: whole(uuid),
            holder: holder.clone(),
            user: None,
            name: None,
            preload: b"",
            // Whole GPUs by a device name come without the shim.
            covered: false,
            hooks: HookStage::ALL,
        };
        match place_slice(host, &inventory, &new) {
            Ok(slice) => placed.push(slice.record.id),
            Err(error) => {
                give_back(host, &placed);
                return Err(error.into());
            }
        }
    }
    Ok(())
}

fn holder(state: &State) -> Result<Holder, CommandError> {
    let pid = state.pid.filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| CommandError::State("no pid".to_owned()))?;
    let process = ProcessIdentity::of(pid).ok().flatten();
    let process = process.ok_or_else(|| LifecycleError::NoProcess {
        container: state.id.clone(),
        pid,
    })?;
    Ok(Holder::Container {
        container: state.id.clone(),
        process,
    })
}

fn holds(record: &SliceRecord, holder: &Holder, uuid: &str) -> bool {
    record.holder == *holder
        && record
            .gpus
            .iter()
            .any(|grant| grant.exclusive && grant.uuid == uuid)
}

/// The names go together, and nothing else reaches other GPUs.
fn check(host: &Host, inventory: &Inventory, spec: &Spec) -> Result<(), CommandError> {
    let claims = Claims::of(spec);
    claims.check()?;
    let named = inventory
        .gpus
        .iter()
        .filter(|gpu| claims.gpus.contains(&gpu.uuid.as_str()));
    let minors: Vec<u32> = named.map(|gpu| gpu.render_minor).collect();
    let devices = DeviceFiles::read(&host.sysroot, &minors).map_err(LifecycleError::from)?;
    let granted: Vec<_> = std::iter::once(devices.kfd).chain(devices.render).collect();
    match conflicts::find(spec, &granted) {
        Some(conflict) => Err(conflict.into()),
        None => Ok(()),
    }
}

fn whole(uuid: &str) -> SliceRequest {
    SliceRequest {
        share: Share::Whole,
        count: 1,
        gpu: Some(GpuSelector::Uuid(uuid.to_owned())),
        group: None,
        placement: PlacementPolicy::Pack,
        enforcement: Enforcement::Cooperative,
    }
}

fn give_back(host: &Host, slices: &[String]) {
    for slice in slices {
        if let Err(error) = lifecycle::release(host, slice, None) {
            complain(&format!("slice {slice} is left to the next reap: {error}"));
        }
    }
}
