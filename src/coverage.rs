//! Whether the shim gets into a container: whether the program that the container begins with is loaded by a loader
//! that reads `/etc/ld.so.preload`, and can load a library of this machine's architecture.
//!
//! ```text
//! process.args ─ an init → what it is told to start ─→ lookup.rs: a file
//!     ─ a script → its interpreter ─→ program.rs: architecture and loader ─→ does that loader read the list?
//! ```
//!
//! This finds images in which the shim does not work. It is no defence against a program that means to get past the
//! shim and may start any other: that is what the layers beneath are for.

pub mod library;
mod lookup;
mod program;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pathrs::Root;
use serde_json::Value;

use crate::edits::{DETOUR_TARGET, PRELOAD_TARGET, SHIM_TARGET};
use crate::oci::config::Spec;
use crate::oci::tree::Tree;
use lookup::Surroundings;
use program::Program;

/// Scripts that interpret scripts. Source: Linux, fs/exec.c, `exec_binprm`.
const MOST_SCRIPTS: u32 = 5;
/// Programs that engines and images put before the one that matters, and that are static as a rule: `podman run --init`
/// mounts catatonit as podman-init, `docker run --init` tini as docker-init.
const INITS: [&str; 6] = [
    "podman-init",
    "catatonit",
    "docker-init",
    "tini",
    "tini-static",
    "dumb-init",
];

/// Why the shim does not get into a container.
#[derive(Debug, thiserror::Error)]
pub enum Gap {
    /// No loader at all.
    #[error("{} is a static program", .0.display())]
    Static(PathBuf),
    /// A loader that loads no other library than the program's.
    #[error("{} is loaded by {}, which does not read {PRELOAD_TARGET} (glibc's does, musl's does not)", program.display(), loader.display())]
    Loader {
        /// The program.
        program: PathBuf,
        /// Its loader.
        loader: PathBuf,
    },
    /// The shim is of another architecture.
    #[error("{} is a program for {found}, and the shim is for {}", program.display(), program::OWN_ARCHITECTURE)]
    Architecture {
        /// The program.
        program: PathBuf,
        /// What it runs on.
        found: String,
    },
    /// Programs of ordinary users do not get to the shim, or to the list that names it.
    #[error("not every user of the container gets to {file}: {} in the image has mode {mode:04o} (chmod o+x)", directory.display())]
    Closed {
        /// What they do not get to.
        file: &'static str,
        /// A directory above it.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Nowhere to mount the list.
    #[error("{PRELOAD_TARGET} cannot be mounted: {0}")]
    NoPreload(String),
    /// It cannot be told, which is no better.
    #[error("what it starts cannot be told: {0}")]
    Unknown(String),
}

/// Looks at a container before its runtime begins.
pub fn of_spec(spec: &Spec, bundle: &Path) -> Result<(), Gap> {
    let tree =
        Tree::of(spec, bundle).map_err(|error| Gap::Unknown(format!("its root file system: {error}")))?;
    check_preload(&tree)?;
    of_tree(spec, &tree)
}

/// Looks at a container whose files are all mounted below its root file system.
pub fn of_mounted(spec: &Spec, root: Root) -> Result<(), Gap> {
    of_tree(spec, &Tree::mounted(root))
}

/// Where a mount's directory is missing the runtime makes it, or fails.
fn check_preload(tree: &Tree) -> Result<(), Gap> {
    let directory = Path::new(PRELOAD_TARGET).parent().unwrap_or(Path::new("/"));
    let unfit = |reason: String| {
        Err(Gap::NoPreload(format!(
            "{} in the image {reason}",
            directory.display()
        )))
    };
    match tree.find(directory) {
        Ok(found) if !found.metadata.is_dir() => unfit("is no directory".to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            unfit(format!("cannot be read: {error}"))
        }
        _ => Ok(()),
    }
}

/// The program that a container is for: that of its config, or what an init there is told to start.
pub fn program_of(spec: &Spec) -> Option<&str> {
    let args = spec.list("/process/args").iter();
    behind_init(&args.filter_map(Value::as_str).collect::<Vec<_>>())
}

/// Who a container's programs are, and will be, is not known: the loader reads the list and the shim as whoever it is. A
/// directory that is not there is made by the runtime, open to all. That of the root is everybody's way to all programs.
fn check_way(tree: &Tree, file: &'static str) -> Result<(), Gap> {
    const ENTERED_BY_OTHERS: u32 = 0o001;
    let mut deepest = Path::new(file).ancestors().skip(1);
    let Some(found) = deepest.find_map(|directory| tree.find(directory).ok()) else {
        return Ok(());
    };
    for directory in found.path.ancestors().take_while(|path| *path != Path::new("/")) {
        let unknown = |error: std::io::Error| Gap::Unknown(format!("{}: {error}", directory.display()));
        let mode = tree
            .find(directory)
            .map_err(unknown)?
            .metadata
            .permissions()
            .mode();
        if mode & ENTERED_BY_OTHERS == 0 {
            return Err(Gap::Closed {
                file,
                directory: directory.to_owned(),
                mode: mode & 0o7777,
            });
        }
    }
    Ok(())
}

fn of_tree(spec: &Spec, tree: &Tree) -> Result<(), Gap> {
    for file in [PRELOAD_TARGET, SHIM_TARGET, DETOUR_TARGET] {
        check_way(tree, file)?;
    }
    let command = program_of(spec).ok_or_else(|| Gap::Unknown("no process.args in its config".to_owned()))?;
    let surroundings = Surroundings::of(spec);
    let path = surroundings.path_of(command, tree).map_err(Gap::Unknown)?;
    follow(tree, &surroundings, path)
}

/// What an init is told to start (`tini -g -- PROGRAM`, `tini PROGRAM`), or the program itself.
fn behind_init<'a>(args: &[&'a str]) -> Option<&'a str> {
    let (program, rest) = args.split_first()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    if !INITS.contains(&name) {
        return Some(program);
    }
    let after = rest
        .iter()
        .position(|argument| *argument == "--")
        .map(|at| at + 1);
    let started = match after {
        Some(at) => rest.get(at),
        None => rest.iter().find(|argument| !argument.starts_with('-')),
    };
    // An init that is told nothing prints its usage.
    Some(started.unwrap_or(program))
}

/// From a script to its interpreter, until there is a program.
fn follow(tree: &Tree, surroundings: &Surroundings<'_>, mut path: PathBuf) -> Result<(), Gap> {
    for _ in 0..=MOST_SCRIPTS {
        let unknown = |error: String| Gap::Unknown(format!("{}: {error}", path.display()));
        let found = tree.find(&path).map_err(|error| unknown(error.to_string()))?;
        let file = found.open().map_err(|error| unknown(error.to_string()))?;
        match program::read(file).map_err(unknown)? {
            Program::Script { interpreter } => path = surroundings.absolute(&interpreter),
            Program::Foreign { architecture } => {
                return Err(Gap::Architecture {
                    program: path,
                    found: architecture,
                });
            }
            Program::Native { loader: None } => return Err(Gap::Static(path)),
            Program::Native { loader: Some(loader) } => return check_loader(tree, path, loader),
        }
    }
    Err(Gap::Unknown(format!(
        "{} is a script of a script of a script",
        path.display()
    )))
}

fn check_loader(tree: &Tree, program: PathBuf, loader: PathBuf) -> Result<(), Gap> {
    let found = tree.find(&loader).and_then(|found| found.open());
    let reads = found.and_then(program::names_preload_list);
    match reads {
        Ok(true) => Ok(()),
        Ok(false) => Err(Gap::Loader { program, loader }),
        Err(error) => Err(Gap::Unknown(format!(
            "{}, the loader of {}: {error}",
            loader.display(),
            program.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_stands_for_what_it_starts() {
        for (args, program) in [
            (&["/app/server", "--", "x"][..], "/app/server"),
            (&["/run/podman-init", "--", "/bin/sh", "-c", "x"], "/bin/sh"),
            (&["tini", "-g", "--", "python3", "x.py"], "python3"),
            (&["/usr/bin/tini", "python3", "-u"], "python3"),
            (&["dumb-init"], "dumb-init"),
        ] {
            assert_eq!(behind_init(args), Some(program));
        }
        assert_eq!(behind_init(&[]), None);
    }
}
