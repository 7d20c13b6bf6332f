//! `sdg doctor`: one page on the machine. It ends well where slices work.

use std::path::Path;

use crate::cli::Output;
use crate::commands::setup::programs;
use crate::commands::{CommandError, print, print_json};
use crate::doctor::engines::Engines;
use crate::doctor::kernel::Kernel;
use crate::doctor::layers::Layers;
use crate::doctor::machine::Machine;
use crate::doctor::{Check, State, page, works};
use crate::host::Host;

/// Looks at everything.
pub fn run(host: &Host, output: Output) -> Result<(), CommandError> {
    let root = Path::new("/");
    let kernel = Kernel::read(root, &host.cgroups());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let engines = Engines::read(root, &path, &programs(host, true)?);
    let groups = [
        Machine::read(host).checks(),
        kernel.checks(),
        engines.checks(),
        Layers::read(host, &kernel).checks(),
    ];
    let checks = groups.concat();
    if output.json {
        print_json(&serde_json::json!({"works": works(&checks), "checks": &checks}))?;
    } else {
        print(page(&checks).as_bytes())?;
    }
    if works(&checks) {
        return Ok(());
    }
    let broken = checks.iter().filter(|check| check.state == State::Broken);
    let names: Vec<String> = broken.map(name).collect();
    Err(CommandError::Unfit(names.join("; ")))
}

fn name(check: &Check) -> String {
    format!("{}: {}", check.group, check.name)
}
