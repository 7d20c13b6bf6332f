//! The command line, types only.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cdi;
use crate::engines::Engine;
use crate::engines::version::EngineVersion;
use crate::host::Places;

/// Slices of AMD GPUs for containers.
#[derive(Debug, Parser)]
#[command(name = "sdg", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub places: PlaceOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where things are.
#[derive(Clone, Debug, Args)]
pub struct PlaceOptions {
    /// Where /sys, with cgroups in it, and /dev are read [default: /]
    #[arg(long, global = true, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// Where the ledger is [default: /run/sdg]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The configuration file [default: /etc/sdg/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl From<PlaceOptions> for Places {
    fn from(options: PlaceOptions) -> Self {
        Self {
            sysroot: options.sysroot,
            state: options.state,
            config: options.config,
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at GPUs
    #[command(subcommand)]
    Gpu(GpuCommand),
    /// Look at slices, make and remove them
    #[command(subcommand)]
    Slice(SliceCommand),
    /// Look at this machine: what it has for slices, what is missing, and the command that mends it
    Doctor(Output),
    /// Watch GPUs and slices on a terminal, and resize slices
    Top {
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
    },
    /// Files by which engines know GPUs and named slices (Container Device Interface)
    #[command(subcommand)]
    Cdi(CdiCommand),
    /// Let a container engine come through sdg: change its configuration, or put it back
    Setup(SetupOptions),
    /// Called by container engines and runtimes
    #[command(subcommand)]
    Hook(HookCommand),
    /// Be an OCI runtime, as under the name sdg-runtime: give slices, then hand over to runc or crun
    #[command(disable_help_flag = true)]
    Runtime {
        /// The runtime's arguments, after `--`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
}

/// Verbs of `sdg cdi`.
#[derive(Debug, Subcommand)]
pub enum CdiCommand {
    /// Write the file of whole GPUs and partitions
    Generate {
        /// sdg.exostellar.io/gpu, or amd.com/gpu
        #[arg(long, default_value = cdi::GPU_KIND)]
        kind: String,
        /// Directory, or - for stdout [default: cdi_dir of the configuration, /etc/cdi]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// List the devices that engines know by our files
    List(Output),
    /// Check files, by default all of ours
    Validate {
        /// Files
        files: Vec<PathBuf>,
    },
    /// Rewrite what is stale: after GPUs, partition modes or slices changed
    Refresh,
}

/// Options of `sdg setup`.
#[derive(Debug, Args)]
pub struct SetupOptions {
    /// The engine
    #[arg(value_enum)]
    pub engine: Engine,
    /// Take out what an earlier call put in
    #[arg(long)]
    pub remove: bool,
    /// Show what would change, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Root of the system that is set up [default: /]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The engine's version, e.g. 1.7.24 [default: what the engine's program says]
    #[arg(long, value_name = "VERSION")]
    pub engine_version: Option<EngineVersion>,
}

/// Verbs of `sdg gpu`.
#[derive(Debug, Subcommand)]
pub enum GpuCommand {
    /// List GPUs and partitions
    List(Output),
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Verbs of `sdg slice`.
#[derive(Debug, Subcommand)]
pub enum SliceCommand {
    /// List slices
    List {
        /// How to print.
        #[command(flatten)]
        output: Output,
        /// Go on and print the listing again whenever it has changed: a table and an empty line, or with --json an array a
        /// line
        #[arg(long)]
        watch: bool,
    },
    /// Show one slice, or the last one of this name that is over: what it has needed, and what would do
    Show {
        /// Id, name, or the id of its container
        slice: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// List slices that are over: what each had and what it needed
    History {
        /// Id, name, the container's id, `namespace/pod/container`, or the program that ran in it [default: all]
        slice: Option<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Make a slice that stays until it is deleted
    Create(CreateOptions),
    /// Remove slices that nothing uses
    Delete {
        /// Ids or names
        #[arg(required = true)]
        slices: Vec<String>,
    },
    /// Remove slices whose containers are gone and what killed commands left
    Reap,
    /// Change a slice's memory and compute units at once, while its container runs: all that is asked, or nothing
    Resize(ResizeOptions),
}

/// Options of `sdg slice resize`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("amount").required(true).multiple(true))]
pub struct ResizeOptions {
    /// Id or name
    pub slice: String,
    /// Memory guaranteed, e.g. 20Gi
    #[arg(long, value_name = "QUANTITY", group = "amount")]
    pub memory: Option<String>,
    /// Memory never exceeded; without it, the same as --memory
    #[arg(long, value_name = "QUANTITY", group = "amount")]
    pub memory_limit: Option<String>,
    /// Compute units guaranteed, in thousandths of a GPU, e.g. 250m
    #[arg(long, value_name = "MILLIS", group = "amount")]
    pub compute: Option<String>,
    /// Ceiling of compute units; without it, the same as --compute
    #[arg(long, value_name = "MILLIS", group = "amount")]
    pub compute_limit: Option<String>,
    /// Where more memory is in use than is to be left: shrink as it is freed, and return when all is as wanted
    #[arg(long)]
    pub wait: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Options of `sdg slice create`: the keys of a request.
#[derive(Debug, Args)]
pub struct CreateOptions {
    /// A name that containers can ask for
    #[arg(long)]
    pub name: Option<String>,
    /// Memory guaranteed on each GPU, e.g. 20Gi
    #[arg(long, value_name = "QUANTITY")]
    pub memory: Option<String>,
    /// Memory never exceeded
    #[arg(long, value_name = "QUANTITY")]
    pub memory_limit: Option<String>,
    /// Compute units guaranteed, in thousandths of a GPU, e.g. 250m
    #[arg(long, value_name = "MILLIS")]
    pub compute: Option<String>,
    /// Ceiling of compute units
    #[arg(long, value_name = "MILLIS")]
    pub compute_limit: Option<String>,
    /// How many GPUs, the same slice on each; alone: whole GPUs
    #[arg(long)]
    pub count: Option<String>,
    /// Index, UUID or PCI address of the GPU
    #[arg(long)]
    pub gpu: Option<String>,
    /// Slices of one group go to one GPU, or to linked ones
    #[arg(long)]
    pub group: Option<String>,
    /// pack or spread
    #[arg(long)]
    pub placement: Option<String>,
    /// Say what would be granted, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Verbs of `sdg hook`.
#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Edit a container's config: from stdin to stdout
    Precreate,
    /// Check that a slice's devices are in force and tie it to its container; state on stdin
    #[command(alias = "prestart")]
    CreateRuntime {
        /// Id; without it the container's annotations are read and a slice is placed
        #[arg(long)]
        slice: Option<String>,
    },
    /// Check that a slice's files are in place, from the container's namespaces; state on stdin
    CreateContainer {
        /// Id; without it the slice that the container holds is put in place
        #[arg(long)]
        slice: Option<String>,
    },
    /// Tie whole GPUs to a container, if no slice is on them; state on stdin
    ClaimGpu {
        /// UUIDs
        #[arg(long, required = true)]
        gpu: Vec<String>,
    },
    /// Release a slice; state on stdin
    Poststop {
        /// Id; without it, all that the container holds
        #[arg(long)]
        slice: Option<String>,
    },
}
