//! `sdg setup`: an engine's configuration.
//!
//! ```text
//! files, version → engines/ (plan) → difference on stdout, or files by renames; notes on stderr
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use diffy::DiffOptions;

use crate::cli::SetupOptions;
use crate::commands::{CommandError, print};
use crate::engines::tree::{self, Tree};
use crate::engines::version::EngineVersion;
use crate::engines::{Action, Change, Engine, Inputs, Plan, Programs};
use crate::files::normalized;
use crate::host::{Host, HostError};
use crate::one_line::one_line;

/// Where a package installs the program, for systems other than this one.
const INSTALLED: &str = "/usr/bin/sdg";

/// Shows or does what an engine needs.
pub fn run(host: &Host, options: &SetupOptions) -> Result<(), CommandError> {
    let root = options.root.as_deref().unwrap_or(Path::new("/"));
    let here = root == Path::new("/");
    let programs = programs(host, here)?;
    let main = |path: &Path| tree::read_file(root, path).ok().flatten();
    let tree = Tree::read(root, &options.engine.sources(main))?;
    let inputs = Inputs {
        action: if options.remove {
            Action::Remove
        } else {
            Action::Install
        },
        tree: &tree,
        version: options
            .engine_version
            .or_else(|| here.then(|| version(options.engine)).flatten()),
        programs: &programs,
    };
    let mut plan = options.engine.plan(&inputs)?;
    if here && !options.remove {
        plan.notes.extend(missing(&programs));
    }
    if options.dry_run {
        return print(difference(&plan.changes).as_bytes());
    }
    tree::apply(root, &plan.changes)?;
    report(&plan)
}

pub(super) fn programs(host: &Host, here: bool) -> Result<Programs, HostError> {
    let own = if here {
        host.program()?.path
    } else {
        PathBuf::from(INSTALLED)
    };
    Ok(Programs {
        runtime: own.with_file_name("sdg-runtime"),
        hooks: normalized(&own.join("../../share/sdg/hooks.d")),
    })
}

fn version(engine: Engine) -> Option<EngineVersion> {
    let output = Command::new(engine.program()).arg("--version").output().ok()?;
    EngineVersion::find(&String::from_utf8_lossy(&output.stdout))
}

fn missing(programs: &Programs) -> Vec<String> {
    let paths = [&programs.runtime, &programs.hooks];
    let missing = paths.into_iter().filter(|path| !path.exists());
    missing
        .map(|path| format!("warning: {} is not there: install sdg as a whole", path.display()))
        .collect()
}

/// What changes, as `diff -u` shows it.
fn difference(changes: &[Change]) -> String {
    changes
        .iter()
        .map(|change| {
            let name = |prefix: &str, text: &Option<String>| match text {
                Some(_) => format!("{prefix}{}", change.path.display()),
                None => "/dev/null".to_owned(),
            };
            let mut options = DiffOptions::new();
            options
                .set_original_filename(name("a", &change.before))
                .set_modified_filename(name("b", &change.after));
            options
                .create_patch(
                    change.before.as_deref().unwrap_or_default(),
                    change.after.as_deref().unwrap_or_default(),
                )
                .to_string()
        })
        .collect()
}

fn report(plan: &Plan) -> Result<(), CommandError> {
    let line = |change: &Change| {
        let verb = match (&change.before, &change.after) {
            (None, _) => "wrote",
            (_, None) => "removed",
            _ => "changed",
        };
        format!("{verb} {}\n", change.path.display())
    };
    let lines: String = plan.changes.iter().map(line).collect();
    let lines = if lines.is_empty() {
        "nothing to change\n".to_owned()
    } else {
        lines
    };
    print(lines.as_bytes())?;
    for note in &plan.notes {
        // A note that nobody can read changes nothing.
        let _ = writeln!(std::io::stderr(), "sdg: {}", one_line(note));
    }
    Ok(())
}
