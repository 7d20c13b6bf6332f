//! `sdg slice history`, and `sdg slice show` of a slice that is over.

use crate::cli::Output;
use crate::commands::{CommandError, print, print_json};
use crate::host::{Host, now};
use crate::ledger::history::Ended;
use crate::ledger::store::LedgerError;
use crate::listing::ended::{EndedEntry, advice, ended_table};

/// Lists slices that are over, in the order of their end: all, or those that are known as this.
pub fn list(host: &Host, known_as: Option<&str>, output: Output) -> Result<(), CommandError> {
    let ended = find(host, known_as)?;
    if output.json {
        let entries: Vec<EndedEntry<'_>> = ended.iter().map(EndedEntry::from).collect();
        return print_json(&entries);
    }
    print(text(&ended, known_as.is_some()).as_bytes())
}

/// Shows the last slice that was known as this; its earlier runs too, for people.
pub fn show(host: &Host, known_as: &str, output: Output) -> Result<(), CommandError> {
    let ended = find(host, Some(known_as))?;
    let last = ended
        .last()
        .ok_or_else(|| LedgerError::NoSlice(known_as.to_owned()))?;
    if output.json {
        return print_json(&EndedEntry::from(last));
    }
    print(text(&ended, true).as_bytes())
}

/// All, or those that are known by this name. Where none is, those whose program has it: an image chooses that, and must
/// not mix its figures with those of a slice of that name.
fn find(host: &Host, name: Option<&str>) -> Result<Vec<Ended>, CommandError> {
    let mut ended = host.ledger().ended()?;
    let Some(name) = name else {
        return Ok(ended);
    };
    if ended.iter().any(|ended| ended.is_known_as(name)) {
        ended.retain(|ended| ended.is_known_as(name));
    } else {
        ended.retain(|ended| ended.workload.program.as_deref() == Some(name));
    }
    Ok(ended)
}

/// What was needed can be summed up where all had one purpose.
fn text(ended: &[Ended], of_one: bool) -> String {
    let mut text = ended_table(ended, now());
    if of_one {
        text.extend(advice(ended).map(|line| line + "\n"));
    }
    text
}
