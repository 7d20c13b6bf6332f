//! `sdg slice list` and `sdg slice show`.

use crate::broker::client;
use crate::cli::Output;
use crate::commands::{CommandError, print, print_json, slice_history};
use crate::host::Host;
use crate::inventory::Detail;
use crate::ledger::record::{SliceRecord, is_known_as, short_name};
use crate::ledger::store::LedgerError;
use crate::listing::{SliceEntry, SliceGpuEntry, history, table};
use crate::placement::TooSmall;
use crate::snapshot::{Live, Snapshot};
use crate::units::Bytes;
use crate::view;

/// Lists slices.
pub fn list(host: &Host, output: Output) -> Result<(), CommandError> {
    let snapshot = look(host, Detail::Placement)?;
    let entries = entries(&snapshot);
    if output.json {
        return print_json(&entries);
    }
    print(slices_table(&entries).as_bytes())
}

/// Looks at the slices. Whoever looks also brings their own views up to date.
pub fn look(host: &Host, detail: Detail) -> Result<Snapshot, CommandError> {
    let snapshot = Snapshot::read(host, detail)?;
    for slice in &snapshot.slices {
        refresh_view(host, &slice.record, &slice.live);
    }
    Ok(snapshot)
}

/// Slices as they are listed.
pub fn entries(snapshot: &Snapshot) -> Vec<SliceEntry<'_>> {
    let slices = snapshot.slices.iter();
    slices
        .map(|slice| SliceEntry::new(&slice.record, &slice.live, &snapshot.inventory))
        .collect()
}

/// Shows one slice, or what one that is over needed.
pub fn show(host: &Host, slice: &str, output: Output) -> Result<(), CommandError> {
    match find(host, slice) {
        Ok(record) => show_record(host, &record, output),
        Err(CommandError::Ledger(LedgerError::NoSlice(_))) => slice_history::show(host, slice, output),
        Err(error) => Err(error),
    }
}

/// Prints one slice.
pub fn show_record(host: &Host, record: &SliceRecord, output: Output) -> Result<(), CommandError> {
    let live = Live::read(&host.ledger(), record)?;
    let live = live.ok_or_else(|| LedgerError::NoSlice(record.id.clone()))?;
    refresh_view(host, record, &live);
    let inventory = host.inventory(Detail::Placement)?;
    let entry = SliceEntry::new(record, &live, &inventory);
    if output.json {
        return print_json(&entry);
    }
    let mut text = slices_table(&[entry]);
    text.extend(TooSmall::first(&record.gpus, &inventory).map(|small| format!("{small}\n")));
    text.extend(history(record, &live).advice().map(|line| line + "\n"));
    print(text.as_bytes())
}

/// A slice by id or name, or by the container or pod that holds it.
pub fn find(host: &Host, slice: &str) -> Result<SliceRecord, CommandError> {
    match host.ledger().record(slice) {
        Err(LedgerError::NoSlice(_)) => {}
        record => return Ok(record?),
    }
    let is_asked = |record: &SliceRecord| {
        record.name.as_deref() == Some(slice)
            || record
                .holder
                .container()
                .is_some_and(|container| is_known_as(container, slice))
    };
    client::visible_records(host)?
        .into_iter()
        .find(is_asked)
        .ok_or_else(|| LedgerError::NoSlice(slice.to_owned()).into())
}

fn refresh_view(host: &Host, record: &SliceRecord, live: &Live) {
    let directory = host.ledger().slice_dir(&record.id);
    for (position, used) in live.usage.used.iter().enumerate() {
        // Without the right to write, a listing is still a listing.
        let _ = view::set_used(&directory, position, *used);
    }
}

/// Slices for people.
pub fn slices_table(entries: &[SliceEntry<'_>]) -> String {
    let rows: Vec<Vec<String>> = entries
        .iter()
        .flat_map(|entry| entry.gpus.iter().map(|gpu| row(entry, gpu)))
        .collect();
    let heading = [
        "SLICE",
        "NAME",
        "STATE",
        "CONTAINER",
        "GPU",
        "MEMORY",
        "LIMIT",
        "USED",
        "CUS",
        "EFFECTIVE",
    ];
    table(&heading, &rows)
}

fn row(entry: &SliceEntry<'_>, gpu: &SliceGpuEntry<'_>) -> Vec<String> {
    let units = match (gpu.compute_units, gpu.cu_mask.is_empty()) {
        (_, true) => "all".to_owned(),
        (0, false) => "best effort".to_owned(),
        (units, false) => units.to_string(),
    };
    vec![
        entry.id.to_owned(),
        entry.name.unwrap_or("-").to_owned(),
        entry.state.to_owned(),
        entry.container.map_or("-", short_name).to_owned(),
        gpu.index.to_string(),
        Bytes(gpu.memory_bytes).to_string(),
        Bytes(gpu.memory_limit_bytes).to_string(),
        gpu.memory_used_bytes
            .map_or("-".to_owned(), |used| Bytes(used).to_string()),
        units,
        gpu.effective_units.to_string(),
    ]
}
