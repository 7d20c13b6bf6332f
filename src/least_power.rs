//! Capabilities that this program keeps: what a verb needs and no more.
//!
//! ```text
//! what it has ∩ what it needs → permitted and effective; nothing is inherited
//! ```

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// Files of images belong to anybody; a line for the engine's own stderr goes to a descriptor of another process.
pub const HOOK: &[Capability] = &[
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_PTRACE,
];
/// Hooks that change a container that is there already: its device cgroup, its mounts, its device nodes.
pub const LIVE_HOOK: &[Capability] = &[
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_MKNOD,
    Capability::CAP_CHOWN,
    Capability::CAP_FOWNER,
];
/// The agent stops processes of other users and looks at their descriptors.
pub const AGENT: &[Capability] = &[
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_KILL,
    Capability::CAP_SYS_PTRACE,
];

/// Gives up every other capability, for good. Called while there is one thread.
pub fn keep(needed: &[Capability]) -> Result<(), CapsError> {
    // Each asked for by itself: a set of all that there is, hashed, takes longer.
    let mut kept = CapsHashSet::new();
    for capability in needed {
        if caps::has_cap(None, CapSet::Permitted, *capability)? {
            kept.insert(*capability);
        }
    }
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
