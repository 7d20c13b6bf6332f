//! `sdg-agent`: argv to parts to exit code.

use std::process::ExitCode;

use sdg::host::{Host, Places};
use sdg::least_power;
use sdg::one_line::one_line;
use sdg_agent::cli::{Cli, Command};
use sdg_agent::parts;

fn main() -> ExitCode {
    let cli = Cli::given();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // The journal has its own clock.
        .without_time()
        .with_target(false)
        .init();
    let mut host = match Host::new(&Places::from(cli.places)) {
        Ok(host) => host,
        Err(error) => return failed(&error.to_string()),
    };
    if let Err(error) = least_power::keep(least_power::AGENT) {
        return failed(&format!("capset: {error}"));
    }
    let wanted = match cli.command {
        Command::Run => parts::wanted(&host),
        Command::Nri { socket } => {
            host.config.nri_socket = socket.or(host.config.nri_socket);
            vec![parts::NRI]
        }
    };
    let (part, error) = parts::run(&host, wanted);
    failed(&format!("{part}: {error}"))
}

fn failed(message: &str) -> ExitCode {
    eprintln!("sdg-agent: {}", one_line(message));
    ExitCode::FAILURE
}
