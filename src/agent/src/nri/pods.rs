//! Pods and their slices: what the runtime tells us → the ledger.
//!
//! ```text
//! pod starts ───────→ its slice is placed
//! container is made ─→ the edits of its pod's slice, or the reason why there is none
//! pod stops, goes ──→ its slice is released
//! ```

use std::collections::HashSet;

use sdg::apply::conflicts::Conflict;
use sdg::edits::HookStage;
use sdg::host::Host;
use sdg::inventory::{Detail, InventoryError};
use sdg::ledger::record::{Holder, ProcessIdentity};
use sdg::ledger::store::LedgerError;
use sdg::lifecycle::{self, LifecycleError, NewSlice, Placed, pod};
use sdg::oci::config::ConfigError;
use sdg::placement::TooSmall;
use sdg::request::{PodRequest, RequestError};

use super::adjust;
use super::messages::{Container, ContainerAdjustment, PodSandbox};

/// Why a container is refused.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// What it asks for.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// GPUs cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// No place, or the ledger.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// It reaches other GPUs.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// What the runtime says of it cannot be understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A call without what it is about.
    #[error("the runtime's call names no {0}")]
    Missing(&'static str),
}

/// The pods of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Pods<'a> {
    /// The machine.
    pub host: &'a Host,
}

impl Pods<'_> {
    /// A pod starts: it gets its slice before its containers' images are fetched. Where it cannot have one its containers
    /// are refused, not the pod: containerd 2.1 leaves the sandbox of a refused pod running (seen with 2.1.9), and a
    /// container is tried again without the pod's being made anew.
    pub fn started(&self, sandbox: &PodSandbox) {
        let placed = request(sandbox)
            .map_err(PodError::from)
            .and_then(|asked| asked.map(|asked| self.placed(sandbox, asked)).transpose());
        if let Err(error) = placed {
            tracing::warn!(pod = name(sandbox), %error, "has no slice: its containers will be refused");
        }
    }

    /// A container is made: what it gets.
    pub fn adjusted(
        &self,
        sandbox: &PodSandbox,
        container: &Container,
    ) -> Result<Option<ContainerAdjustment>, PodError> {
        let Some(asked) = request(sandbox)?.filter(|asked| asked.includes(&container.name)) else {
            return Ok(None);
        };
        let edits = match pod::slice_of(self.host, &sandbox.id)? {
            Some(placed) => placed.edits,
            // The pod started while nobody listened.
            None => self.placed(sandbox, asked)?.edits,
        };
        if let Some(conflict) = adjust::conflict(&edits, container)? {
            return Err(conflict.into());
        }
        Ok(Some(adjust::adjustment(&edits, container)))
    }

    fn placed(&self, sandbox: &PodSandbox, asked: PodRequest) -> Result<Placed, PodError> {
        let process = i32::try_from(sandbox.pid).ok().filter(|pid| *pid > 0);
        let inventory = self.host.inventory(Detail::Placement)?;
        let new = NewSlice {
            request: asked.request,
            holder: Holder::Pod {
                sandbox: sandbox.id.clone(),
                pod: name(sandbox),
                process: process.and_then(|pid| ProcessIdentity::of(pid).ok().flatten()),
            },
            user: None,
            name: None,
            // An image's own file is not known yet.
            preload: b"",
            // Nor is the program: the container's own hook looks at it.
            covered: true,
            hooks: HookStage::ALL,
        };
        let placed = lifecycle::place(self.host, &inventory, &new)?;
        tracing::info!(pod = name(sandbox), slice = placed.record.id, "placed");
        if let Some(small) = TooSmall::first(&placed.record.gpus, &inventory) {
            tracing::warn!(pod = name(sandbox), "{small}");
        }
        Ok(placed)
    }

    /// A pod stops or is gone. Nothing of it may fail because of us.
    pub fn ended(&self, sandbox: &PodSandbox) {
        match pod::release(self.host, &sandbox.id) {
            Ok(gone) => gone
                .iter()
                .for_each(|slice| tracing::info!(pod = name(sandbox), slice, "released")),
            Err(error) => tracing::warn!(pod = name(sandbox), %error, "its slice is left to the next reap"),
        }
    }

    /// What is there when we come: slices of pods that are gone are released, containers that run with a slice are
    /// written down, and those that should have one and have not are named.
    pub fn found(&self, sandboxes: &[PodSandbox], containers: &[Container]) -> Result<(), PodError> {
        let known: HashSet<&str> = sandboxes.iter().map(|sandbox| sandbox.id.as_str()).collect();
        for container in containers {
            self.claim(container);
        }
        let mut gone = lifecycle::reap(self.host)?;
        gone.extend(pod::release_others(self.host, &known)?);
        for slice in gone {
            tracing::info!(slice, "released: its pod is gone");
        }
        for sandbox in sandboxes {
            self.name_left_out(sandbox, containers);
        }
        Ok(())
    }

    fn claim(&self, container: &Container) {
        let pid = i32::try_from(container.pid).ok().filter(|pid| *pid > 0);
        let (Some(slice), Some(pid)) = (adjust::slice_of(container), pid) else {
            return;
        };
        match pod::join(self.host, slice, &container.id, pid) {
            Ok(()) => {}
            Err(LifecycleError::Ledger(LedgerError::NoSlice(_))) => {
                tracing::warn!(
                    container = container.id,
                    slice,
                    "runs with a slice that is not in the ledger"
                );
            }
            Err(error) => tracing::warn!(container = container.id, slice, %error, "not claimed"),
        }
    }

    fn name_left_out(&self, sandbox: &PodSandbox, containers: &[Container]) {
        let Ok(Some(asked)) = request(sandbox) else {
            return;
        };
        for container in containers.iter().filter(|container| {
            container.pod_sandbox_id == sandbox.id
                && container.pid > 0
                && asked.includes(&container.name)
                && adjust::slice_of(container).is_none()
        }) {
            tracing::warn!(
                pod = name(sandbox),
                container = container.name,
                "was started while sdg-agent was away: it has no GPU until it is restarted"
            );
        }
    }
}

/// For people.
fn name(sandbox: &PodSandbox) -> String {
    format!("{}/{}", sandbox.namespace, sandbox.name)
}

/// What a pod asks for by labels and annotations. In order, so that the same pod is refused in the same words.
fn request(sandbox: &PodSandbox) -> Result<Option<PodRequest>, RequestError> {
    let mut pairs: Vec<(&str, &str)> = sandbox
        .labels
        .iter()
        .chain(&sandbox.annotations)
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    pairs.sort_unstable();
    PodRequest::parse(pairs)
}
