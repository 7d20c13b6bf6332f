//! `sdg`: argv to command to exit code.

use std::process::ExitCode;

use clap::Parser;
use sdg::cli::Cli;
use sdg::commands;

/// Under this name the program is an OCI runtime, whose arguments are not ours.
const RUNTIME_NAME: &str = "sdg-runtime";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if std::path::Path::new(&name).file_name() == Some(RUNTIME_NAME.as_ref()) {
        return commands::runtime::main(&arguments.collect::<Vec<_>>());
    }
    commands::run(Cli::parse())
}
