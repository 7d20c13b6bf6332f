//! Container engines: which are here, and whether they come through our doors.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use super::{Check, State};
use crate::engines::tree::{self, Tree};
use crate::engines::version::EngineVersion;
use crate::engines::{Action, Engine, Inputs, Programs};

const GROUP: &str = "engines";

/// An engine.
#[derive(Debug)]
pub struct Found {
    /// Which.
    pub engine: Engine,
    /// Its program; none: not installed.
    pub program: Option<PathBuf>,
    /// How many files `sdg setup` would change; or why it cannot say.
    pub to_change: Result<usize, String>,
}

/// What was read.
#[derive(Debug)]
pub struct Engines {
    /// All that we know.
    pub engines: Vec<Found>,
    /// Programs and hook files of ours that are missing.
    pub missing: Vec<PathBuf>,
}

impl Engines {
    /// Reads configurations below a root, and looks for programs in a PATH.
    pub fn read(root: &Path, path: &OsStr, programs: &Programs) -> Self {
        let find = |engine: &Engine| Found {
            engine: *engine,
            program: find_program(path, engine.program()),
            to_change: to_change(root, *engine, path, programs),
        };
        let ours = [&programs.runtime, &programs.hooks];
        Self {
            engines: Engine::value_variants().iter().map(find).collect(),
            missing: ours.into_iter().filter(|path| !path.exists()).cloned().collect(),
        }
    }

    /// All checks.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.any(), self.installed()];
        checks.extend(self.engines.iter().map(engine));
        checks
    }

    fn any(&self) -> Check {
        let here: Vec<&str> = self
            .engines
            .iter()
            .filter(|found| found.program.is_some())
            .map(|found| found.engine.program())
            .collect();
        let check = |found: &str| Check::good(GROUP, "any", found);
        match here.is_empty() {
            true => check("none in PATH").with(State::Broken, "apt-get install podman"),
            false => check(&here.join(", ")),
        }
    }

    fn installed(&self) -> Check {
        let check = |found: String| Check::good(GROUP, "sdg for engines", found);
        match self.missing.first() {
            Some(path) => check(format!("{} is not there", path.display())).with(
                State::Broken,
                "install sdg as a whole: a package, or make install",
            ),
            None => check("sdg-runtime and the hook files".to_owned()),
        }
    }
}

fn engine(found: &Found) -> Check {
    let check = |text: &str| Check::good(GROUP, found.engine.program(), text);
    let name = found
        .engine
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    match (&found.program, &found.to_change) {
        (None, _) => Check {
            state: State::Absent,
            ..check("not installed")
        },
        (Some(_), Ok(0)) => check("set up"),
        (Some(_), Ok(_)) => check("not set up").with(State::Absent, format!("sdg setup {name}")),
        (Some(_), Err(error)) => check(error).with(State::Absent, format!("sdg setup {name} --dry-run")),
    }
}

fn to_change(root: &Path, engine: Engine, path: &OsStr, programs: &Programs) -> Result<usize, String> {
    let main = |file: &Path| tree::read_file(root, file).ok().flatten();
    let tree = Tree::read(root, &engine.sources(main)).map_err(|error| error.to_string())?;
    let inputs = Inputs {
        action: Action::Install,
        tree: &tree,
        version: find_program(path, engine.program()).and_then(|program| version(&program)),
        programs,
    };
    let plan = engine.plan(&inputs).map_err(|error| error.to_string())?;
    Ok(plan.changes.len())
}

fn version(program: &Path) -> Option<EngineVersion> {
    let output = Command::new(program).arg("--version").output().ok()?;
    EngineVersion::find(&String::from_utf8_lossy(&output.stdout))
}

fn find_program(path: &OsStr, name: &str) -> Option<PathBuf> {
    let candidates = std::env::split_paths(path).map(|directory| directory.join(name));
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(is_program)
}
