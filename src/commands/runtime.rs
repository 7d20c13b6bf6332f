//! `sdg-runtime`: an OCI runtime that gives a container its slice and then becomes runc or crun.
//!
//! ```text
//! create, run ─ config.json asks ─→ slice, config.json replaced ┐
//! delete ─ slice of a dead container ─→ released                ├→ exec of the real runtime, arguments untouched
//! any other verb ───────────────────────────────────────────────┘
//! ```

mod bundle;
mod real;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use crate::apply::claims::{self, Claims};
use crate::commands::place_in_spec::{Asker, give_up, is_sandbox, may_have_our_keys, place, request_of};
use crate::commands::{CommandError, complain, count_hook};
use crate::counters::Hook;
use crate::edits::HookStage;
use crate::host::{Host, Places};
use crate::ledger::record::{Holder, ProcessIdentity, SliceRecord};
use crate::ledger::store::LedgerError;
use crate::lifecycle;
use crate::oci::config::Spec;
use crate::oci::runtime_call::{self, Log, RuntimeCall, Verb};
use crate::one_line::one_line;
use bundle::Bundle;

/// Why the real runtime was not reached.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is none.
    #[error(
        "no OCI runtime: {looked_for} (install runc or crun, or set runtime = \"/path\" in /etc/sdg/config.toml)"
    )]
    NotFound {
        /// What was looked for and where.
        looked_for: String,
    },
    /// It would be this program again.
    #[error("runtime = {:?} in the configuration is sdg itself: name runc or crun", .0)]
    Itself(PathBuf),
    /// It cannot be executed.
    #[error("exec {}: {source}", path.display())]
    Exec {
        /// The runtime.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs under the name `sdg-runtime`.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let result = Host::new(&Places::default())
        .map_err(CommandError::from)
        .inspect_err(|error| write_log(arguments, error))
        .and_then(|host| run(&host, arguments));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Does our part and becomes the real runtime. Returns only if something failed.
pub fn run(host: &Host, arguments: &[OsString]) -> Result<(), CommandError> {
    hand_over(host, arguments).inspect_err(|error| write_log(arguments, error))
}

fn hand_over(host: &Host, arguments: &[OsString]) -> Result<(), CommandError> {
    let real = real::find(host.config.runtime.as_deref())?;
    let RuntimeCall { verb, .. } = runtime_call::parse(arguments);
    let placed = match verb {
        Verb::Create { bundle, config, id } => {
            let started = Instant::now();
            let called = Called {
                bundle: Bundle::new(&bundle, config),
                id: id.as_deref(),
                hooks: real::hooks(&real),
            };
            let begun = begin(host, &called);
            // Containers that ask for nothing are none of ours.
            if !matches!(begun, Ok(None)) {
                count_hook(host, (Some(Hook::Runtime), started), &begun);
            }
            begun?
        }
        Verb::Delete { id } => {
            release_dead(host, id.as_deref());
            None
        }
        Verb::Other => None,
    };
    let error = real::become_it(&real, arguments);
    if let Some(slice) = placed {
        give_up(host, &slice);
    }
    Err(error.into())
}

/// A call to make a container.
struct Called<'a> {
    bundle: Bundle,
    /// The container's, where the call has it where we look.
    id: Option<&'a str>,
    hooks: &'static [HookStage],
}

/// Gives a container its slice if it asks for one; says which slice was made.
fn begin(host: &Host, called: &Called<'_>) -> Result<Option<String>, CommandError> {
    // What is wrong with a bundle the real runtime says better.
    let Ok(text) = called.bundle.read() else {
        return Ok(None);
    };
    if !may_have_our_keys(&text) {
        return Ok(None);
    }
    let config = Spec::parse(&text)?;
    if is_sandbox(&config) {
        return Ok(None);
    }
    let claims = Claims::of(&config);
    claims.check()?;
    let Some(slice) = claims.slices.first().map(|slice| (*slice).to_owned()) else {
        return place_new(host, called, (config, &text));
    };
    match host.ledger().record(&slice) {
        Ok(record) if record.holder == Holder::Named => {
            if let Some(asked) = request_of(&config)? {
                claims::agree(&asked, &slice, &record.request)?;
            }
            return Ok(None);
        }
        // What its pod asks for was looked at when the pod got the slice.
        Ok(record) if is_held(&record) => return Ok(None),
        // The bundle's earlier life is over.
        Ok(record) => give_up(host, &record.id),
        Err(LedgerError::NoSlice(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let original = called.bundle.original()?.ok_or(CommandError::StaleEdits(slice))?;
    place_new(host, called, (Spec::parse(&original)?, &original))
}

fn place_new(
    host: &Host,
    called: &Called<'_>,
    (mut config, text): (Spec, &[u8]),
) -> Result<Option<String>, CommandError> {
    let Some(request) = request_of(&config)? else {
        return Ok(None);
    };
    Claims::of(&config).check_annotations()?;
    let asker = Asker {
        bundle: called.bundle.directory(),
        // This process: an exec keeps what it is known by.
        maker: ProcessIdentity::of(nix::unistd::getpid().as_raw()).ok().flatten(),
        container: called.id,
        hooks: called.hooks,
    };
    let slice = place(host, &mut config, request, &asker)?;
    match called.bundle.replace(text, &config.to_json()) {
        Ok(()) => Ok(Some(slice)),
        Err(error) => {
            give_up(host, &slice);
            Err(error.into())
        }
    }
}

/// Whether a slice is somebody's: of a container that runs, of a runtime that is just making one, or of a person.
fn is_held(record: &SliceRecord) -> bool {
    match &record.holder {
        Holder::Named | Holder::Pod { .. } => true,
        Holder::Container { process, .. } => process.is_alive(),
        Holder::Placed { maker, .. } => maker.as_ref().is_some_and(ProcessIdentity::is_alive),
    }
}

/// Releases what a container of this id holds and no longer can use. A delete never fails because of us.
fn release_dead(host: &Host, id: Option<&str>) {
    let (Some(id), Ok(records)) = (id, host.ledger().records()) else {
        return;
    };
    for record in records {
        let container = match &record.holder {
            Holder::Container { container, .. } => Some(container),
            Holder::Placed { container, .. } => container.as_ref(),
            Holder::Named | Holder::Pod { .. } => None,
        };
        if container.is_some_and(|container| container == id)
            && !is_held(&record)
            && let Err(error) = lifecycle::release(host, &record.id, None)
        {
            complain(&format!("slice {} is left to the next reap: {error}", record.id));
        }
    }
}

/// Engines show what the runtime's log says last, not its stderr. A log that cannot be written changes nothing.
fn write_log(arguments: &[OsString], error: &CommandError) {
    let Some(Log { path, json }) = runtime_call::parse(arguments).log else {
        return;
    };
    let text = one_line(&format!("sdg: {error}"));
    let line = if json {
        format!("{}\n", serde_json::json!({"level": "error", "msg": text}))
    } else {
        format!("level=error msg={text:?}\n")
    };
    let _ = append(&path, &line);
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    File::options()
        .append(true)
        .create(true)
        .open(path)?
        .write_all(line.as_bytes())
}
