//! `sdg cdi`: files by which engines know GPUs and named slices.
//!
//! ```text
//! generate, refresh: inventory, ledger → cdi/ → files        list, validate: files → a table, what is wrong
//! ```

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cdi::files::{self, CdiFileError};
use crate::cdi::gpus::{self, Ground};
use crate::cdi::spec::{CdiError, CdiSpec};
use crate::cdi::{AMD_KIND, GPU_KIND, SLICE_KIND, from_edits, is_our_kind};
use crate::cli::{CdiCommand, Output};
use crate::commands::{CommandError, complain, print, print_json, read_edits, warn_of};
use crate::edits::ContainerEdits;
use crate::host::Host;
use crate::inventory::{Detail, DeviceFiles};
use crate::listing;

/// Runs a verb.
pub fn run(host: &Host, command: CdiCommand) -> Result<(), CommandError> {
    match command {
        CdiCommand::Generate { kind, output } => generate(host, &kind, output),
        CdiCommand::List(output) => list(host, output),
        CdiCommand::Validate { files } => validate(host, files),
        CdiCommand::Refresh => refresh(host),
    }
}

fn generate(host: &Host, kind: &str, output: Option<PathBuf>) -> Result<(), CommandError> {
    if ![GPU_KIND, AMD_KIND].contains(&kind) {
        return Err(CommandError::Usage(format!(
            "--kind {kind}: whole GPUs are {GPU_KIND} or {AMD_KIND}"
        )));
    }
    let spec = gpu_spec(host, kind)?
        .ok_or_else(|| CommandError::Usage(format!("no AMD GPU below {}", host.sysroot.display())))?;
    if output.as_deref() == Some(Path::new("-")) {
        return print(&spec.to_json().map_err(not_written)?);
    }
    let path = files::gpu_path(&output.unwrap_or_else(|| host.cdi_dir()), kind);
    files::write(&path, &spec)?;
    print(format!("{}\n", path.display()).as_bytes())
}

fn not_written(error: CdiError) -> CommandError {
    CommandError::Usage(error.to_string())
}

/// The file's content for whole GPUs; none where there is no GPU.
fn gpu_spec(host: &Host, kind: &str) -> Result<Option<CdiSpec>, CommandError> {
    let mut inventory = host.inventory(Detail::Placement)?;
    warn_of(&inventory);
    inventory.gpus.retain(|gpu| !gpu.excluded);
    if inventory.gpus.is_empty() {
        return Ok(None);
    }
    let minors: Vec<u32> = inventory.gpus.iter().map(|gpu| gpu.render_minor).collect();
    let devices =
        DeviceFiles::read(&host.sysroot, &minors).map_err(crate::lifecycle::LifecycleError::from)?;
    let ground = Ground {
        devices: &devices,
        sysroot: &host.sysroot,
        program: &host.program()?,
    };
    Ok(Some(gpus::spec(kind, &inventory, &ground)))
}

/// Lets engines know a named slice.
pub fn write_slice(host: &Host, name: &str, edits: &ContainerEdits) -> Result<bool, CommandError> {
    let spec = CdiSpec::new(SLICE_KIND, vec![from_edits::device(name, edits)]);
    Ok(files::write(&files::slice_path(&host.cdi_dir(), name), &spec)?)
}

/// Lets engines forget a named slice.
pub fn remove_slice(host: &Host, name: &str) -> Result<bool, CommandError> {
    Ok(files::remove(&files::slice_path(&host.cdi_dir(), name))?)
}

/// Rewrites what is stale: GPUs as they are now, and a file for each named slice and for no other.
fn refresh(host: &Host) -> Result<(), CommandError> {
    let directory = host.cdi_dir();
    let mut changed = Vec::new();
    let mut kinds: Vec<&str> = files::gpu_kinds(&directory).collect();
    if !kinds.contains(&GPU_KIND) {
        kinds.push(GPU_KIND);
    }
    for kind in kinds {
        let path = files::gpu_path(&directory, kind);
        let differs = match gpu_spec(host, kind) {
            Ok(Some(spec)) => files::write(&path, &spec)?,
            Ok(None) => files::remove(&path)?,
            // Without the driver there is no GPU to be known.
            Err(CommandError::Inventory(_)) if !path.exists() => false,
            Err(error) => return Err(error),
        };
        changed.extend(differs.then_some(path));
    }
    let records = host.ledger().records()?;
    for record in &records {
        if let Some(name) = &record.name
            && write_slice(host, name, &read_edits(host, &record.id)?)?
        {
            changed.push(files::slice_path(&directory, name));
        }
    }
    for path in files::ours(&directory)? {
        let gone = files::slice_of(&path)
            .is_some_and(|name| !records.iter().any(|record| record.name.as_deref() == Some(name)));
        if gone && files::remove(&path)? {
            changed.push(path);
        }
    }
    let lines: String = changed
        .iter()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    print(lines.as_bytes())
}

/// A device that engines know.
#[derive(Serialize)]
struct Entry {
    device: String,
    nodes: Vec<String>,
    cdi_version: String,
    file: String,
}

fn list(host: &Host, output: Output) -> Result<(), CommandError> {
    let mut entries = Vec::new();
    for path in files::ours(&host.cdi_dir())? {
        match files::read(&path) {
            Ok(spec) => entries.extend(entries_of(&spec, &path)),
            Err(error) => complain(&format!("warning: {error}")),
        }
    }
    if output.json {
        return print_json(&entries);
    }
    let row = |entry: &Entry| {
        let nodes = match entry.nodes.as_slice() {
            [] => "-".to_owned(),
            [first, rest @ ..] if rest.len() > 2 => format!("{first} and {} more", rest.len()),
            nodes => nodes.join(" "),
        };
        vec![entry.device.clone(), nodes, entry.file.clone()]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    print(listing::table(&["DEVICE", "NODES", "FILE"], &rows).as_bytes())
}

fn entries_of(spec: &CdiSpec, path: &Path) -> Vec<Entry> {
    let entry = |device: &crate::cdi::spec::CdiDevice| Entry {
        device: format!("{}={}", spec.kind, device.name),
        nodes: device
            .container_edits
            .device_nodes
            .iter()
            .map(|node| node.path.clone())
            .collect(),
        cdi_version: spec.cdi_version.clone(),
        file: path.to_string_lossy().into_owned(),
    };
    spec.devices.iter().map(entry).collect()
}

/// Checks files: their form, and that what they name is there. Says all that is wrong.
fn validate(host: &Host, named: Vec<PathBuf>) -> Result<(), CommandError> {
    let paths = if named.is_empty() {
        files::ours(&host.cdi_dir())?
    } else {
        named
    };
    let mut wrong = 0_usize;
    for path in &paths {
        for problem in problems(path) {
            complain(&problem);
            wrong += 1;
        }
    }
    match wrong {
        0 => print(format!("{} file(s), nothing wrong\n", paths.len()).as_bytes()),
        _ => Err(CommandError::Usage(format!(
            "{wrong} problem(s) in {} file(s); `sdg cdi refresh` writes them anew",
            paths.len()
        ))),
    }
}

fn problems(path: &Path) -> Vec<String> {
    let spec = match files::read(path) {
        Ok(spec) => spec,
        Err(CdiFileError::File(error)) => return vec![error.to_string()],
        Err(error @ CdiFileError::Content { .. }) => return vec![error.to_string()],
    };
    let mut problems = Vec::new();
    let mut problem = |text: String| problems.push(format!("{}: {text}", path.display()));
    if !is_our_kind(&spec.kind) {
        problem(format!("kind {:?} is not one of sdg's", spec.kind));
    }
    for device in &spec.devices {
        let edits = &device.container_edits;
        for mount in edits
            .mounts
            .iter()
            .filter(|mount| !Path::new(&mount.host_path).exists())
        {
            problem(format!(
                "device {:?}: {} is not there",
                device.name, mount.host_path
            ));
        }
        for hook in edits
            .hooks
            .iter()
            .filter(|hook| !is_program(Path::new(&hook.path)))
        {
            problem(format!("device {:?}: {} is no program", device.name, hook.path));
        }
    }
    problems
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
