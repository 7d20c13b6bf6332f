//! The command line, types only.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use sdg::cli::PlaceOptions;

use crate::nri;

/// The optional daemon of sdg.
#[derive(Debug, Parser)]
#[command(name = "sdg-agent", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub places: PlaceOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all parts that the configuration asks for, until stopped
    Run,
    /// Give the pods of this node their slices: a plugin of the Node Resource Interface
    Nri {
        /// Where the container runtime listens for plugins [default: /var/run/nri/nri.sock]
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
}

impl Cli {
    /// From the command line. A runtime that starts its plugins gives them none.
    pub fn given() -> Self {
        if nri::is_launched() && std::env::args_os().len() == 1 {
            return Self::parse_from(["sdg-agent", "nri"]);
        }
        Self::parse()
    }
}
