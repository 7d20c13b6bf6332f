//! A slice's life: placed, claimed, resized, released, reaped. Each is one transaction under the ledger's lock.
//!
//! ```text
//! records and usage → plan (placement/, limits.rs: pure) → lower others' limits and masks (in_force.rs), wait until their
//!   processes say that they have them → stage files → publish by a rename
//! ```
//!
//! The order makes a kill at any instruction harmless: others' limits sink before a slice appears that needs the
//! room, and rise after one has gone. What a killed command left is put right by the next one that has the lock.

mod change;
mod in_force;
pub mod kernel_memory;
pub mod limits;
mod place;
pub mod pod;
mod resize;
mod upkeep;
mod users;

pub use change::{Claim, claim, delete, reap, release};
pub use in_force::Unanswered;
pub use place::{NewSlice, Placed, place, read_edits};
pub use resize::{InUse, Resize, Resized, resize};

use crate::files::FileError;
use crate::host::HostError;
use crate::inventory::{DeviceFilesError, InventoryError};
use crate::ledger::pages::PageError;
use crate::ledger::store::LedgerError;
use crate::placement::PlacementError;

/// Why a slice did not become what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// GPUs cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// No place.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The pages.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Device files.
    #[error(transparent)]
    Devices(#[from] DeviceFilesError),
    /// Other files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The installation.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The edits cannot be written down.
    #[error("edits of slice {id}: {source}")]
    Edits {
        /// The slice.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A name twice.
    #[error("a slice named {name:?} is there already (slice {id})")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// A name that other places cannot take (CDI device names, files).
    #[error(
        "{0:?} is no name for a slice (1 to 63 letters, digits, '-', '_' and '.', a letter or digit at both ends)"
    )]
    BadName(String),
    /// Claimed twice.
    #[error("slice {id} belongs to container {container}")]
    Claimed {
        /// The slice.
        id: String,
        /// Whose it is.
        container: String,
    },
    /// The container's process is gone already.
    #[error("process {pid} of container {container} is not running")]
    NoProcess {
        /// The container.
        container: String,
        /// Its first process.
        pid: i32,
    },
    /// Somebody uses it.
    #[error("slice {id} is used by {by} (stop it first)")]
    InUse {
        /// The slice.
        id: String,
        /// Who.
        by: String,
    },
    /// Running slices take memory while it is counted.
    #[error("running slices take lent memory faster than it is called back (try again)")]
    Unsteady,
    /// Nobody answers guarded calls.
    #[error(
        "enforcement \"guarded\" needs sdg-agent, which does not answer on {}: {source} (systemctl start sdg-agent)",
        socket.display()
    )]
    NoGuard {
        /// The agent's socket.
        socket: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No way to edit the seccomp profile.
    #[error(
        "enforcement \"guarded\" needs the container's seccomp profile, which neither a device name (CDI) nor a hook of a \
         running container reaches: ask for the slice by annotations, with Podman's hook or the runtime handler sdg"
    )]
    NotToBeGuarded,
    /// What a rootless engine cannot do.
    #[error(
        "enforcement \"guarded\" is not to be had without root: sdg-agent takes the listener of a container from root's \
         runtime alone (leave it out, or have root's engine run this container)"
    )]
    GuardedForUser,
    /// Enough is enough.
    #[error("user {user} {reason}")]
    UserLimit {
        /// Who.
        user: u32,
        /// What they hold, and what they may.
        reason: String,
    },
    /// The way to a user's slice.
    #[error("{}: no access for user {user} alone: {source}", path.display())]
    Access {
        /// The slice's directory.
        path: std::path::PathBuf,
        /// Who.
        user: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// Less than it uses.
    #[error(
        "slice {id}: it uses {used} now, more than a limit of {limit} (its programs have to free memory first; --wait waits \
         for that)"
    )]
    BelowUse {
        /// The slice.
        id: String,
        /// Bytes in use.
        used: crate::units::Bytes,
        /// Bytes wanted.
        limit: crate::units::Bytes,
    },
    /// The kernel's limit of memory.
    #[error("the kernel's limit of its memory: {0}")]
    Cgroup(#[from] crate::dmem::CgroupError),
    /// A resize that stopped short of the kernel.
    #[error(
        "slice {id} is resized, and the kernel's own limit is not: {source} (`sdg slice reap` tries again)"
    )]
    KernelBehind {
        /// The slice.
        id: String,
        /// Why not.
        source: Box<LifecycleError>,
    },
    /// More than there is.
    #[error("slice {id}: {reason}")]
    Resize {
        /// The slice.
        id: String,
        /// Why not, and what would do.
        reason: String,
    },
}
