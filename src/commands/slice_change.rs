//! `sdg slice delete` and `reap`.

use crate::commands::{CommandError, cdi, print, slice_list};
use crate::host::Host;
use crate::ledger::store::LedgerError;
use crate::lifecycle;

/// Removes slices; the first that cannot be removed ends it.
pub fn delete(host: &Host, slices: &[String]) -> Result<(), CommandError> {
    for slice in slices {
        let mut name = None;
        let id = match slice_list::find(host, slice) {
            Ok(record) => {
                name = record.name;
                record.id
            }
            // A record that is not understood can be removed by its id.
            Err(CommandError::Ledger(LedgerError::Record { id, .. })) if id == *slice => id,
            Err(error) => return Err(error),
        };
        lifecycle::delete(host, &id)?;
        if let Some(name) = name {
            cdi::remove_slice(host, &name)?;
        }
    }
    Ok(())
}

/// Removes what is over.
pub fn reap(host: &Host) -> Result<(), CommandError> {
    let gone = lifecycle::reap(host)?;
    let lines: String = gone.iter().map(|id| format!("{id}\n")).collect();
    print(lines.as_bytes())
}
