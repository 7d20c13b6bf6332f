//! `sdg hook create-container`: are the slice's files where the container's programs will find them?
//!
//! ```text
//! state on stdin → the container's root file system → each file against the slice's edits → does the shim get in?
//! ```
//!
//! It runs in the container's namespaces, perhaps without any right on the host: it reads and says no, and leaves the
//! ledger to the hooks that follow.

use pathrs::Root;

use crate::apply::in_force;
use crate::commands::{CommandError, read_edits, read_state};
use crate::host::Host;
use crate::ledger::record::SliceRecord;
use crate::oci::config::Spec;
use crate::{coverage, enforcement};

/// Runs the hook.
pub fn run(host: &Host, slice: &str) -> Result<(), CommandError> {
    let state = read_state()?;
    let missing = |what: &str| CommandError::State(format!("no {what}"));
    let bundle = state.bundle.as_deref().ok_or_else(|| missing("bundle"))?;
    let edits = read_edits(host, slice)?;
    let not_in_force = |source| CommandError::NotInForce {
        slice: slice.to_owned(),
        source,
    };
    let spec = in_force::read_spec(bundle).map_err(not_in_force)?;
    let rootfs = spec.root(bundle).unwrap_or_default();
    let root = in_force::root_from_inside(&rootfs).map_err(not_in_force)?;
    in_force::check_mounts(&edits, &root).map_err(not_in_force)?;
    check_coverage(host, &host.ledger().record(slice)?, (&spec, root))
}

/// Whether the shim gets into the container now that all its files are there: the first that is known of a container
/// which has its slice by a name.
pub fn check_coverage(
    host: &Host,
    record: &SliceRecord,
    (spec, root): (&Spec, Root),
) -> Result<(), CommandError> {
    let coverage = coverage::of_mounted(spec, root);
    Ok(enforcement::check(coverage, record, &host.config)?)
}
