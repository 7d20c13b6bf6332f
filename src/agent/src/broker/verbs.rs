//! What a user may have done: to slices that are his, for processes that are his. The work itself is that of root's hooks.

use std::io;

use sdg::broker::{Answer, Ask};
use sdg::edits::HookStage;
use sdg::host::Host;
use sdg::inventory::{Detail, InventoryError};
use sdg::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use sdg::ledger::store::LedgerError;
use sdg::ledger::workload::Workload;
use sdg::lifecycle::{self, Claim, LifecycleError, NewSlice};
use sdg::request::{self, RequestError};

/// Longest id of a container: engines have 64 hex digits.
const LONGEST_ID: usize = 128;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What was asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Nothing was.
    #[error("no annotation asks for a slice (sdg.memory=20Gi would)")]
    Nothing,
    /// GPUs cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The ledger. A slice of somebody else is one that is not there.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A slice.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// A process of somebody else, or none.
    #[error("process {pid} is none of user {user}")]
    Process {
        /// Which.
        pid: i32,
        /// Who asks.
        user: u32,
    },
    /// A process that cannot be looked at.
    #[error("look at process {pid}: {source}")]
    Unseen {
        /// Which.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// An id that is none.
    #[error("{0:?} is no container's id (1 to {LONGEST_ID} letters, digits, '-', '_' and '.')")]
    Id(String),
    /// A container that runs.
    #[error("slice {slice} is that of container {container}, which runs")]
    Runs {
        /// The slice.
        slice: String,
        /// Its container.
        container: String,
    },
}

/// Does what users ask for.
pub struct Verbs {
    /// The machine, with hooks that call `sdg`.
    pub host: Host,
}

impl Verbs {
    /// Does what a user asks for.
    pub fn answer(&self, user: u32, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Greet => Ok(Answer::Done),
            Ask::List => {
                let mut records = self.host.ledger().records()?;
                records.retain(|record| record.user == Some(user));
                Ok(Answer::Slices(records))
            }
            Ask::Place {
                annotations,
                preload,
                covered,
                maker,
            } => {
                let pairs = annotations
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()));
                let maker = maker.map(|pid| process_of(user, pid)).transpose()?;
                let new = NewSlice {
                    request: request::parse(pairs)?.ok_or(Refusal::Nothing)?,
                    holder: Holder::Placed {
                        maker,
                        container: None,
                    },
                    user: Some(user),
                    name: None,
                    preload: &preload,
                    covered,
                    hooks: HookStage::ALL,
                };
                self.place(&new)
            }
            Ask::Claim {
                slice,
                container,
                pid,
                workload,
            } => {
                let claim = Claim {
                    container: &container,
                    pid,
                };
                self.claim(user, &slice, (claim, &workload))
            }
            Ask::Release { slice, container } => self.release(user, &slice, container.as_deref()),
        }
    }

    /// Lets a slice go whose container will not be.
    pub fn take_back(&self, slice: &str) {
        if let Err(error) = lifecycle::release(&self.host, slice, None) {
            tracing::warn!(slice, %error, "broker: left to the next reap");
        }
    }

    fn place(&self, new: &NewSlice<'_>) -> Result<Answer, Refusal> {
        let inventory = self.host.inventory(Detail::Placement)?;
        let placed = lifecycle::place(&self.host, &inventory, new)?;
        for slice in &placed.unanswered {
            // Others' slices are nothing to the user.
            tracing::warn!("broker: {slice}");
        }
        tracing::info!(user = new.user, slice = placed.record.id, "broker: placed");
        Ok(Answer::Placed {
            record: Box::new(placed.record),
            edits: Box::new(placed.edits),
        })
    }

    fn claim(
        &self,
        user: u32,
        slice: &str,
        (claim, workload): (Claim<'_>, &Workload),
    ) -> Result<Answer, Refusal> {
        let own = self.own(user, slice)?;
        if !is_id(claim.container) {
            return Err(Refusal::Id(claim.container.to_owned()));
        }
        let process = process_of(user, claim.pid)?;
        let record = lifecycle::claim(&self.host, &own.id, claim)?;
        if !matches!(&record.holder, Holder::Container { process: first, .. } if *first == process) {
            // The pid was given to another process meanwhile.
            self.take_back(&own.id);
            return Err(Refusal::Process { pid: claim.pid, user });
        }
        let workload = Workload::new(workload.program.as_deref(), workload.kubernetes.as_deref());
        // Without it the past has a name less.
        let _ = workload.write(&self.host.ledger().slice_dir(&own.id));
        Ok(Answer::Done)
    }

    /// One that is not there, or not the user's, is let go already.
    fn release(&self, user: u32, slice: &str, container: Option<&str>) -> Result<Answer, Refusal> {
        let own = match self.own(user, slice) {
            Err(Refusal::Ledger(LedgerError::NoSlice(_))) => return Ok(Answer::Done),
            own => own?,
        };
        match &own.holder {
            // Its memory would be given twice.
            Holder::Container { container, process } if process.is_alive() => Err(Refusal::Runs {
                slice: own.id.clone(),
                container: container.clone(),
            }),
            _ => {
                lifecycle::release(&self.host, &own.id, container)?;
                Ok(Answer::Done)
            }
        }
    }

    fn own(&self, user: u32, slice: &str) -> Result<SliceRecord, Refusal> {
        let record = self.host.ledger().record(slice)?;
        match record.user {
            Some(owner) if owner == user => Ok(record),
            _ => Err(LedgerError::NoSlice(slice.to_owned()).into()),
        }
    }
}

fn process_of(user: u32, pid: i32) -> Result<ProcessIdentity, Refusal> {
    let found = ProcessIdentity::of_user(pid, user).map_err(|source| Refusal::Unseen { pid, source })?;
    found.ok_or(Refusal::Process { pid, user })
}

/// Listings show it.
fn is_id(text: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(ok)
}
