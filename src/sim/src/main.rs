//! `sdg-sim`: argv to command to exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use sdg_sim::cli::{Cli, Command};
use sdg_sim::commands;
use sdg_sim::commands::launch::LaunchError;
use sdg_sim::commands::run::RunError;

/// Exit status of a failure of the simulator's own.
const FAILED: u8 = 125;
/// Exit status where the command cannot be started.
const NO_COMMAND: u8 = 127;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => match commands::run::run(&args) {
            Err(RunError::Launch(error)) => not_launched(&error),
            result => result.map_err(|error| error.to_string()),
        },
        Command::Status(args) => commands::status::run(&args)
            .map(|text| print_text(&text))
            .map_err(|error| error.to_string()),
        Command::Node(args) => commands::node::run(&args)
            .map(|()| 0)
            .map_err(|error| error.to_string()),
        Command::Rootfs(args) => commands::rootfs::run(&args)
            .map(|()| 0)
            .map_err(|error| error.to_string()),
        Command::Launch(args) => match commands::launch::run(&args) {
            Ok(never) => match never {},
            Err(error) => not_launched(&error),
        },
        Command::Clean(args) => {
            sdg_sim::wait_and_remove(&args.directory);
            Ok(0)
        }
        Command::Attach(args) => sdg_sim::attach(&args.tree, (&args.from, &args.to), &args.target)
            .map(|()| 0)
            .map_err(|error| format!("mount at {}: {error}", args.target.display())),
        Command::Probe(args) => sdg_sim::probe(&args.cgroup, &args.render_nodes)
            .and_then(|verdicts| io::stdout().write_all(&verdicts))
            .map(|()| 0)
            .map_err(|error| format!("enter {}: {error}", args.cgroup.display())),
    };
    result.map_or_else(
        |message| {
            eprintln!("sdg-sim: {message}");
            ExitCode::from(FAILED)
        },
        ExitCode::from,
    )
}

fn not_launched(error: &LaunchError) -> Result<u8, String> {
    if !matches!(error, LaunchError::Command { .. }) {
        return Err(error.to_string());
    }
    eprintln!("sdg-sim: {error}");
    Ok(NO_COMMAND)
}

fn print_text(text: &str) -> u8 {
    println!("{}", text.trim_end());
    0
}
