//! Engines' configuration: what `sdg setup` changes so that an engine comes through our door. Pure.
//!
//! ```text
//! Tree of config files, engine's version, where our programs are → Plan: files before and after, notes
//! ```

mod changes;
mod containerd;
mod crio;
mod docker;
mod dropin;
mod podman;
mod toml_keys;
pub mod tree;
pub mod version;

use std::path::{Path, PathBuf};

use tree::{Source, Tree};
use version::EngineVersion;

/// An engine that can be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Podman
    Podman,
    /// containerd
    Containerd,
    /// CRI-O
    Crio,
    /// Docker
    Docker,
}

/// What to do with an engine's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put our keys in.
    Install,
    /// Take them out.
    Remove,
}

/// Where our own files are on the machine that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `sdg-runtime`.
    pub runtime: PathBuf,
    /// Directory with a hooks.d directory for each engine.
    pub hooks: PathBuf,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What to do.
    pub action: Action,
    /// The configuration files that are there.
    pub tree: &'a Tree,
    /// The engine's version; none where it is not known.
    pub version: Option<EngineVersion>,
    /// Our own files.
    pub programs: &'a Programs,
}

/// A file that changes; absent where it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute path.
    pub path: PathBuf,
    /// Its text now.
    pub before: Option<String>,
    /// Its text afterwards.
    pub after: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files that change, in the order in which they are to be written.
    pub changes: Vec<Change>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Why no plan was made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SetupError {
    /// A file that is not in its format.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A key with another type than the engine takes.
    #[error("{}: {key} is not {expected}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A runtime of our name that somebody else wrote.
    #[error("{}: {key} is there already and not by `sdg setup` (remove it, or leave the runtime as it is)", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A file of our name that somebody else wrote.
    #[error("{} is not by `sdg setup` (move it away first)", .0.display())]
    NotOurs(PathBuf),
}

impl Engine {
    /// The files that this engine's plan looks at. `main` gives the text of a file, for those that name others.
    pub fn sources(self, main: impl Fn(&Path) -> Option<String>) -> Vec<Source> {
        match self {
            Self::Podman => podman::sources(),
            Self::Containerd => containerd::sources(main(Path::new(containerd::CONFIG)).as_deref()),
            Self::Crio => crio::sources(),
            Self::Docker => docker::sources(),
        }
    }

    /// The program that tells the engine's version, with the argument `--version`.
    pub fn program(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Docker => "dockerd",
        }
    }

    /// What makes the engine read its configuration again; Podman reads it at every call.
    pub fn restart(self) -> Option<&'static str> {
        match self {
            Self::Podman => None,
            Self::Containerd => Some("systemctl restart containerd"),
            Self::Crio => Some("systemctl restart crio"),
            Self::Docker => Some("systemctl restart docker"),
        }
    }

    /// Plans what changes. Nothing changes where everything is as it should be.
    pub fn plan(self, inputs: &Inputs<'_>) -> Result<Plan, SetupError> {
        let mut plan = match self {
            Self::Podman => podman::plan(inputs),
            Self::Containerd => containerd::plan(inputs),
            Self::Crio => crio::plan(inputs),
            Self::Docker => docker::plan(inputs),
        }?;
        plan.changes.retain(|change| change.before != change.after);
        if let (Some(restart), false) = (self.restart(), plan.changes.is_empty()) {
            plan.notes.push(format!("to let it take effect: {restart}"));
        }
        Ok(plan)
    }
}

/// The name of our runtime in every engine's configuration.
const RUNTIME_NAME: &str = "sdg";
