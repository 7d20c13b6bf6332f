//! `sdg-manual DIRECTORY`: writes man pages and completions below a share directory, at build time.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes the man pages and shell completions of sdg's programs.
#[derive(Debug, Parser)]
struct Cli {
    /// The share directory, e.g. target/dist/usr/share
    share: PathBuf,
}

fn main() -> ExitCode {
    match sdg_manual::write(&Cli::parse().share) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sdg-manual: {error}");
            ExitCode::FAILURE
        }
    }
}
