//! A slice for a container whose spec can still be edited: Podman's precreate hook and the runtime wrapper.
//!
//! ```text
//! spec ─ no request of ours, or a sandbox ────→ as it is
//!      ├ edits of a slice that is there ──────→ as it is, if the annotations agree
//!      └ request → slice → conflicts → edits ─→ edited spec
//! ```

use std::path::Path;

use crate::apply::{conflicts, spec, user_namespace};
use crate::commands::{CommandError, brokered, complain};
use crate::dmem;
use crate::edits::HookStage;
use crate::host::Host;
use crate::inventory::Detail;
use crate::ledger::record::{Holder, ProcessIdentity};
use crate::lifecycle::{NewSlice, Placed};
use crate::oci::config::Spec;
use crate::oci::preload;
use crate::request::{self, LONG_PREFIX, PodRequest, SHORT_PREFIX, SliceRequest};
use crate::{coverage, enforcement};

/// Annotations by which engines mark a pod's sandbox: containerd and cri-dockerd, CRI-O.
const SANDBOX: [(&str, &str); 2] = [
    ("io.kubernetes.cri.container-type", "sandbox"),
    ("io.kubernetes.cri-o.ContainerType", "sandbox"),
];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Directory that relative paths in the spec begin at.
    pub bundle: &'a Path,
    /// The slice lasts as long as this process, until the container claims it.
    pub maker: Option<ProcessIdentity>,
    /// The container's id, where it is known.
    pub container: Option<&'a str>,
    /// Hooks that its runtime is to call.
    pub hooks: &'a [HookStage],
}

/// Most containers have no slice, and their config need not be understood.
pub fn may_have_our_keys(text: &[u8]) -> bool {
    let contains = |needle: &str| {
        text.windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    // The short prefix is the beginning of the long one; JSON may write any letter as an escape.
    contains(SHORT_PREFIX) || contains(LONG_PREFIX) || contains("\\u")
}

/// Whether a spec is of a pod's sandbox, which runs no program of the user's.
pub fn is_sandbox(config: &Spec) -> bool {
    config
        .annotations()
        .any(|annotation| SANDBOX.contains(&annotation))
}

/// What a spec's annotations ask for. Those of a pod may name the containers that they are for.
pub fn request_of(config: &Spec) -> Result<Option<SliceRequest>, CommandError> {
    let Some(container) = pod_container(config) else {
        return Ok(request::parse(config.annotations())?);
    };
    let asked = PodRequest::parse(config.annotations())?;
    Ok(asked
        .filter(|asked| asked.includes(&container))
        .map(|asked| asked.request))
}

/// The name of a pod's container, which containerd has as an annotation and CRI-O in a text of JSON.
fn pod_container(config: &Spec) -> Option<String> {
    config.annotations().find_map(|(key, value)| match key {
        "io.kubernetes.cri.container-name" => Some(value.to_owned()),
        "io.kubernetes.cri-o.Metadata" => {
            let metadata: serde_json::Value = serde_json::from_str(value).ok()?;
            Some(metadata.get("name")?.as_str()?.to_owned())
        }
        _ => None,
    })
}

/// Places a slice and edits the spec; says which slice.
pub fn place(
    host: &Host,
    config: &mut Spec,
    request: SliceRequest,
    asker: &Asker<'_>,
) -> Result<String, CommandError> {
    if asker.hooks.contains(&HookStage::CreateContainer) {
        user_namespace::check(config)?;
    }
    let preload = preload::read(config, asker.bundle)?;
    let coverage = coverage::of_spec(config, asker.bundle);
    let inventory = host.inventory(Detail::Placement)?;
    let new = NewSlice {
        request,
        holder: Holder::Placed {
            maker: asker.maker,
            container: asker.container.map(str::to_owned),
        },
        user: None,
        name: None,
        preload: &preload,
        covered: coverage.is_ok(),
        hooks: asker.hooks,
    };
    let placed = brokered::place(host, &inventory, (&new, config))?;
    let held = enforcement::check(coverage, &placed.record, &host.config).map_err(CommandError::from);
    match held.and_then(|()| apply(host, &placed, config)) {
        Ok(()) => Ok(placed.record.id),
        Err(error) => {
            give_up(host, &placed.record.id);
            Err(error)
        }
    }
}

fn apply(host: &Host, placed: &Placed, config: &mut Spec) -> Result<(), CommandError> {
    if let Some(conflict) = conflicts::find(config, &placed.edits.devices) {
        return Err(conflict.into());
    }
    let mut edits = placed.edits.clone();
    if !edits.unified.is_empty() && !cgroups_are_ready(host, config) {
        // The runtime would stumble over files that are not there. The createRuntime hook writes them, or refuses.
        edits.unified.clear();
    }
    Ok(spec::apply(&edits, config)?)
}

/// Whether the container's cgroup will have the files of the kernel's limit of memory.
fn cgroups_are_ready(host: &Host, config: &Spec) -> bool {
    let path = config.text("/linux/cgroupsPath").unwrap_or_default();
    dmem::prepare(&host.cgroups(), path).is_ok_and(|ready| ready)
}

/// Lets a slice go whose container will not be.
pub fn give_up(host: &Host, slice: &str) {
    if let Err(error) = brokered::release(host, slice, None) {
        complain(&format!("slice {slice} is left to the next reap: {error}"));
    }
}
