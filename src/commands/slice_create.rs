//! `sdg slice create`.

use crate::cli::CreateOptions;
use crate::commands::{
    CommandError, cdi, complain, place_slice, print, print_json, slice_list, warn_of, warn_small,
};
use crate::compute::explain::explain;
use crate::edits::HookStage;
use crate::host::Host;
use crate::inventory::{Detail, Inventory};
use crate::ledger::record::{Holder, RECORD_VERSION, SliceRecord};
use crate::lifecycle::limits::{SliceUse, with_usage};
use crate::lifecycle::{self, NewSlice, Placed};
use crate::listing::SliceEntry;
use crate::placement::{self, GpuGrant, TooSmall};
use crate::request::{self, SliceRequest};
use crate::snapshot::Live;
use crate::units::Bytes;

/// Makes a slice, or says what would be made.
pub fn run(host: &Host, options: &CreateOptions) -> Result<(), CommandError> {
    let request = parse(options)?;
    let inventory = host.inventory(Detail::Placement)?;
    warn_of(&inventory);
    if options.dry_run {
        return dry_run(host, options, (&inventory, request));
    }
    let new = NewSlice {
        request,
        holder: Holder::Named,
        user: None,
        name: options.name.clone(),
        preload: b"",
        covered: true,
        hooks: HookStage::ALL,
    };
    let placed = place_slice(host, &inventory, &new)?;
    // A slice that nobody was told of would not be deleted by anybody.
    tell(host, options, (&placed, &inventory)).inspect_err(|_| {
        if let Err(error) = forget(host, options, &placed.record.id) {
            complain(&format!("slice {} is left: {error}", placed.record.id));
        }
    })
}

/// Tells engines and the person.
fn tell(
    host: &Host,
    options: &CreateOptions,
    (placed, inventory): (&Placed, &Inventory),
) -> Result<(), CommandError> {
    if let Some(name) = &options.name {
        cdi::write_slice(host, name, &placed.edits)?;
    }
    if options.output.json {
        return slice_list::show_record(host, &placed.record, options.output);
    }
    print(format!("{}\n{}", placed.record.id, units_text(&placed.record, inventory)).as_bytes())
}

fn forget(host: &Host, options: &CreateOptions, id: &str) -> Result<(), CommandError> {
    lifecycle::delete(host, id)?;
    if let Some(name) = &options.name {
        cdi::remove_slice(host, name)?;
    }
    Ok(())
}

fn parse(options: &CreateOptions) -> Result<SliceRequest, CommandError> {
    let given = [
        ("sdg.memory", &options.memory),
        ("sdg.memoryLimit", &options.memory_limit),
        ("sdg.compute", &options.compute),
        ("sdg.computeLimit", &options.compute_limit),
        ("sdg.count", &options.count),
        ("sdg.gpu", &options.gpu),
        ("sdg.group", &options.group),
        ("sdg.placement", &options.placement),
    ];
    let pairs = given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)));
    request::parse(pairs)?.ok_or_else(|| {
        CommandError::Usage(
            "say what the slice is: --memory 20Gi, with --compute 250m for compute units of its own; \
             or --count 1 for a whole GPU"
                .to_owned(),
        )
    })
}

/// Without the lock and without reaping: what is over by then is not counted as free.
fn dry_run(
    host: &Host,
    options: &CreateOptions,
    (inventory, request): (&Inventory, SliceRequest),
) -> Result<(), CommandError> {
    let ledger = host.ledger();
    let slices = with_usage(&ledger, ledger.records()?)?;
    let taken: Vec<_> = slices.iter().map(SliceUse::taken).collect();
    let placement = placement::place(&request, inventory, &taken, &host.rules())
        .map_err(crate::lifecycle::LifecycleError::from)?;
    let record = SliceRecord {
        version: RECORD_VERSION,
        id: String::new(),
        name: options.name.clone(),
        created: crate::host::now(),
        request,
        holder: Holder::Named,
        user: None,
        enforcement: Vec::new(),
        gpus: placement.grants,
    };
    warn_small(TooSmall::first(&record.gpus, inventory));
    if options.output.json {
        return print_json(&SliceEntry::new(&record, &Live::default(), inventory));
    }
    print(units_text(&record, inventory).as_bytes())
}

/// A line for each GPU: what was asked, granted and is delivered.
fn units_text(record: &SliceRecord, inventory: &Inventory) -> String {
    let line = |grant: &GpuGrant| {
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == grant.uuid)?;
        let (index, memory) = (grant.index, Bytes(grant.memory_bytes));
        Some(format!("GPU {index}: {memory}; {}\n", explain(&gpu.grid, grant)))
    };
    record.gpus.iter().filter_map(line).collect()
}
