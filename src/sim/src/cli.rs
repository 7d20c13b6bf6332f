//! The command line of `sdg-sim`, types only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::rootfs::Release;

/// A node with AMD GPUs that are not there, on which unmodified ROCm programs run.
#[derive(Debug, Parser)]
#[command(name = "sdg-sim", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command, and everything it starts, on a simulated node
    Run(RunArgs),
    /// Show what the devices of a running simulation see
    Status(StatusArgs),
    /// Write a simulated node's /sys and /dev to a directory
    Node(NodeArgs),
    /// Make a root file system with ROCm user space from Debian's packages
    Rootfs(RootfsArgs),
    /// Started by `run`: becomes the command
    #[command(hide = true)]
    Launch(LaunchArgs),
    /// Started by `run`: removes the node's directory when `run` is gone
    #[command(hide = true)]
    Clean(CleanArgs),
    /// Started by `run`: mounts the node's /sys in a container
    #[command(hide = true)]
    Attach(AttachArgs),
    /// Started by `run`: tells which render nodes a device cgroup grants
    #[command(hide = true)]
    Probe(ProbeArgs),
}

/// Which GPUs a node has.
#[derive(Clone, Debug, Args)]
pub struct PresetArgs {
    /// The node's GPUs
    #[arg(long, value_name = "NAME", default_value = "mi300x")]
    pub preset: String,

    /// Change a value of the preset; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub changes: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The node's GPUs
    #[command(flatten)]
    pub preset: PresetArgs,

    /// Use the node that `sdg-sim node` made in this directory, in place of a preset
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "changes"])]
    pub node: Option<PathBuf>,

    /// Let the command have this process's id and parent; the node is served by a child of it, until nobody is left on it. For
    /// an init, whose id is 1
    #[arg(long)]
    pub keep_pid: bool,

    /// Write what the devices see to this file: one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// The command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "CMD"
    )]
    pub command: Vec<std::ffi::OsString>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Directory of the node; without it, the one named by SDG_SYSROOT
    #[arg(long, value_name = "DIR", env = "SDG_SYSROOT")]
    pub node: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The node's GPUs
    #[command(flatten)]
    pub preset: PresetArgs,

    /// The directory to write it to: a new or an empty one
    pub dir: PathBuf,
}

/// Arguments of `rootfs`.
#[derive(Debug, Args)]
pub struct RootfsArgs {
    /// Release of ROCm to put into it
    #[arg(long, value_name = "RELEASE", default_value = "7.2")]
    pub rocm: Release,

    /// Debian mirror to fetch from; without it, the one that apt uses here
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,

    /// The directory to make it in; left alone if it is there already
    pub dir: PathBuf,
}

/// Arguments of `launch`.
#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// Directory of the node
    pub node: PathBuf,

    /// Descriptor of the socket that takes the listener
    pub socket: i32,

    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<std::ffi::OsString>,
}

/// Arguments of `clean`.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// What to remove
    pub directory: PathBuf,
}

/// Arguments of `attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// What to mount
    pub tree: PathBuf,

    /// Namespace that has it
    pub from: PathBuf,

    /// Namespace that gets it
    pub to: PathBuf,

    /// Where to mount it
    pub target: PathBuf,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Directory of the cgroup
    pub cgroup: PathBuf,

    /// What it may grant
    pub render_nodes: Vec<PathBuf>,
}
