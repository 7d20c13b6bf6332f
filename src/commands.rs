//! A verb a file: read, plan, apply.
//!
//! ```text
//! Cli → Host → verb → exit code; an error is one line on stderr
//! ```

mod brokered;
mod cdi;
mod complaint;
mod doctor;
mod gpu_list;
mod hook_claim_gpu;
mod hook_create_container;
mod hook_create_runtime;
mod hook_poststop;
mod hook_precreate;
mod live;
mod place_in_spec;
pub mod runtime;
mod setup;
mod slice_change;
mod slice_create;
mod slice_history;
mod slice_list;
mod slice_resize;
mod slice_watch;
mod top;
mod workload;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use self::complaint::complain;
use crate::broker::client::BrokerError;
use crate::cli::{Cli, Command, GpuCommand, HookCommand, SliceCommand};
use crate::counters::{self, Hook, Reason};
use crate::edits::ContainerEdits;
use crate::host::{Host, HostError, Places};
use crate::inventory::{Inventory, InventoryError};
use crate::least_power;
use crate::ledger::pages::PageError;
use crate::ledger::store::LedgerError;
use crate::lifecycle::{self, LifecycleError};
use crate::oci::state::State;
use crate::placement::TooSmall;
use crate::request::RequestError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The installation.
    #[error(transparent)]
    Host(#[from] HostError),
    /// GPUs cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A page.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A look at the node.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::SnapshotError),
    /// A terminal.
    #[error(transparent)]
    Terminal(#[from] crate::top::terminal::TerminalError),
    /// A slice.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// It takes root, and nobody who is root does it for this user.
    #[error("{forbidden}; {broker}")]
    NoBroker {
        /// What this user may not.
        forbidden: Box<LifecycleError>,
        /// Where a broker would be.
        broker: BrokerError,
    },
    /// What was asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The container's config.
    #[error(transparent)]
    Spec(#[from] crate::oci::config::ConfigError),
    /// The container's config has a way past the slice.
    #[error(transparent)]
    Conflict(#[from] crate::apply::conflicts::Conflict),
    /// Nobody could look whether its slice is in force.
    #[error(transparent)]
    UserNamespace(#[from] crate::apply::user_namespace::OwnUserNamespace),
    /// The edits.
    #[error(transparent)]
    Apply(#[from] crate::apply::spec::ApplyError),
    /// The image's preload file.
    #[error(transparent)]
    Preload(#[from] crate::oci::preload::PreloadError),
    /// Nothing would hold the container.
    #[error(transparent)]
    Uncovered(#[from] crate::enforcement::Uncovered),
    /// What was placed does not hold.
    #[error("slice {slice} is not in force, the container is not started: {source}")]
    NotInForce {
        /// The slice.
        slice: String,
        /// Why.
        source: crate::apply::in_force::NotInForce,
    },
    /// The runtime's state.
    #[error("the container's state on stdin: {0}")]
    State(String),
    /// Edits of another life.
    #[error(
        "the container's config has the edits of slice {0}, which is gone: have the engine make the config anew"
    )]
    StaleEdits(String),
    /// A container that is there already.
    #[error(transparent)]
    Live(#[from] crate::apply::live::LiveError),
    /// Names that do not go together.
    #[error(transparent)]
    Claim(#[from] crate::apply::claims::ClaimError),
    /// CDI files.
    #[error(transparent)]
    Cdi(#[from] crate::cdi::files::CdiFileError),
    /// The real runtime.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// An engine's configuration.
    #[error(transparent)]
    Setup(#[from] crate::engines::SetupError),
    /// Other files.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// Two slices of one name or the like.
    #[error("{0}")]
    Usage(String),
    /// Capabilities that were not given up.
    #[error("capset: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// Slices do not work here.
    #[error("slices do not work here: {0}")]
    Unfit(String),
    /// Reading stdin or writing stdout.
    #[error("{operation}: {source}")]
    Stream {
        /// Which.
        operation: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Output that cannot be made.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs a command. Its error is one line on stderr.
pub fn run(cli: Cli) -> ExitCode {
    let started = Instant::now();
    let places = Places::from(cli.places);
    if matches!(cli.command, Command::Hook(_)) {
        complaint::speak_as_hook();
    }
    let host = match Host::new(&places) {
        // A stop goes on whatever the configuration says.
        Err(error) if matches!(cli.command, Command::Hook(HookCommand::Poststop { .. })) => {
            complain(&error.to_string());
            Host::unconfigured(&places)
        }
        host => host,
    };
    let result = host.map_err(CommandError::from).and_then(|host| {
        let hook = hook_of(&cli.command);
        let result = dispatch(&host, cli.command);
        count_hook(&host, (hook, started), &result);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What an engine waits for.
fn hook_of(command: &Command) -> Option<Hook> {
    let Command::Hook(hook) = command else {
        return None;
    };
    Some(match hook {
        HookCommand::Precreate => Hook::Precreate,
        HookCommand::CreateRuntime { .. } => Hook::CreateRuntime,
        HookCommand::CreateContainer { .. } => Hook::CreateContainer,
        HookCommand::ClaimGpu { .. } => Hook::ClaimGpu,
        HookCommand::Poststop { .. } => Hook::Poststop,
    })
}

/// Counts how long a hook took, and whether it refused its container.
fn count_hook<T>(host: &Host, (hook, started): (Option<Hook>, Instant), result: &Result<T, CommandError>) {
    let Some(hook) = hook else {
        return;
    };
    let refusal = result.as_ref().err().and_then(Reason::of_command);
    counters::count(&host.state, |counters| {
        if let Some(reason) = refusal {
            counters.refused(reason)?;
        }
        counters.took(hook, started.elapsed())
    });
}

fn dispatch(host: &Host, command: Command) -> Result<(), CommandError> {
    match command {
        Command::Gpu(GpuCommand::List(output)) => gpu_list::run(host, output),
        Command::Slice(SliceCommand::List { output, watch: true }) => slice_watch::run(host, output),
        Command::Slice(SliceCommand::List { output, .. }) => slice_list::list(host, output),
        Command::Slice(SliceCommand::Show { slice, output }) => slice_list::show(host, &slice, output),
        Command::Slice(SliceCommand::History { slice, output }) => {
            slice_history::list(host, slice.as_deref(), output)
        }
        Command::Slice(SliceCommand::Create(options)) => slice_create::run(host, &options),
        Command::Slice(SliceCommand::Delete { slices }) => slice_change::delete(host, &slices),
        Command::Slice(SliceCommand::Reap) => slice_change::reap(host),
        Command::Slice(SliceCommand::Resize(options)) => slice_resize::run(host, &options),
        Command::Top { interval } => top::run(host, interval),
        Command::Cdi(command) => cdi::run(host, command),
        Command::Doctor(output) => doctor::run(host, output),
        Command::Setup(options) => setup::run(host, &options),
        Command::Runtime { arguments } => runtime::run(host, &arguments),
        Command::Hook(hook) => dispatch_hook(host, hook),
    }
}

/// A slice that the hook's arguments do not name is made and put in place by the hook itself (CRI-O's hooks.d).
fn power_of(hook: &HookCommand) -> &'static [caps::Capability] {
    match hook {
        HookCommand::CreateRuntime { slice: None } | HookCommand::CreateContainer { slice: None } => {
            least_power::LIVE_HOOK
        }
        _ => least_power::HOOK,
    }
}

fn dispatch_hook(host: &Host, hook: HookCommand) -> Result<(), CommandError> {
    least_power::keep(power_of(&hook))?;
    match hook {
        HookCommand::Precreate => hook_precreate::run(host),
        HookCommand::CreateRuntime { slice } => match slice {
            Some(slice) => hook_create_runtime::run(host, &slice),
            None => live::create_runtime(host),
        },
        HookCommand::CreateContainer { slice } => match slice {
            Some(slice) => hook_create_container::run(host, &slice),
            None => live::create_container(host),
        },
        HookCommand::ClaimGpu { gpu } => hook_claim_gpu::run(host, &gpu),
        HookCommand::Poststop { slice } => {
            hook_poststop::run(host, slice.as_deref());
            Ok(())
        }
    }
}

/// Places a slice, and says who still uses what is its own now.
fn place_slice(
    host: &Host,
    inventory: &Inventory,
    new: &lifecycle::NewSlice<'_>,
) -> Result<lifecycle::Placed, LifecycleError> {
    let placed = lifecycle::place(host, inventory, new)?;
    warn_unanswered(&placed.unanswered);
    warn_small(TooSmall::first(&placed.record.gpus, inventory));
    Ok(placed)
}

/// Says where programs find no room for their data.
fn warn_small(small: Option<TooSmall>) {
    if let Some(small) = small {
        complain(&format!("warning: {small}"));
    }
}

fn warn_unanswered(unanswered: &[lifecycle::Unanswered]) {
    for slice in unanswered {
        complain(&format!("warning: {slice}"));
    }
}

fn warn_of(inventory: &Inventory) {
    for warning in inventory.complaints() {
        complain(&format!("warning: {warning}"));
    }
    for selector in &inventory.unmatched {
        complain(&format!("warning: exclude_gpus: {selector} names no GPU here"));
    }
}

/// Writes to stdout. A reader that has gone away (`| head`) is no error.
fn print(bytes: &[u8]) -> Result<(), CommandError> {
    match write_out(bytes) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::Stream {
            operation: "write to stdout",
            source,
        }),
        _ => Ok(()),
    }
}

fn write_out(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn print_json<T: serde::Serialize>(value: &T) -> Result<(), CommandError> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    print(&text)
}

fn read_stdin() -> Result<Vec<u8>, CommandError> {
    // Most configs have 10 to 20 KiB; from 64 KiB on, freeing memory makes glibc tidy its heap.
    let mut bytes = Vec::with_capacity(32 << 10);
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map_err(|source| {
        CommandError::Stream {
            operation: "read stdin",
            source,
        }
    })?;
    Ok(bytes)
}

/// The container's state, which runtimes give to their hooks.
fn read_state() -> Result<State, CommandError> {
    State::read(std::io::stdin().lock()).map_err(|error| CommandError::State(error.to_string()))
}

/// What was placed, as it was written down then.
fn read_edits(host: &Host, slice: &str) -> Result<ContainerEdits, CommandError> {
    let record = host.ledger().record(slice)?;
    Ok(lifecycle::read_edits(&host.ledger(), &record.id)?)
}
