//! Podman: our hooks directory through a drop-in of containers.conf. The file with the precreate hook is in a directory
//! of its own, because CRI-O does not start where it finds one.

use std::path::Path;

use crate::engines::dropin::DropIn;
use crate::engines::tree::Source;
use crate::engines::{Inputs, Plan, SetupError};

/// The distribution's file, the administrator's, and the administrator's drop-ins: later ones win.
/// Source: containers.conf(5).
const FILES: [&str; 2] = [
    "/usr/share/containers/containers.conf",
    "/etc/containers/containers.conf",
];
const DROP_INS: &str = "/etc/containers/containers.conf.d";
/// A name that comes after those that people give: the last list counts.
const OURS: &str = "/etc/containers/containers.conf.d/zz-sdg.conf";
/// Read by Podman unless configured otherwise, there or not.
const DEFAULT_HOOKS: &str = "/usr/share/containers/oci/hooks.d";

/// Where the plan looks.
pub fn sources() -> Vec<Source> {
    let files = FILES.iter().map(|file| Source::File(file.into()));
    files
        .chain([Source::Directory(DROP_INS.into(), ".conf")])
        .collect()
}

/// Plans what changes.
pub fn plan(inputs: &Inputs<'_>) -> Result<Plan, SetupError> {
    let ours = Path::new(OURS);
    let drop_ins = inputs.tree.directory(Path::new(DROP_INS)).map(|(path, _)| path);
    let drop_in = DropIn {
        engine: "podman",
        file: ours,
        earlier: FILES
            .iter()
            .map(Path::new)
            .chain(drop_ins.filter(|path| *path != ours))
            .collect(),
        table: &["engine"],
        default_hooks: DEFAULT_HOOKS,
        our_hooks: inputs.programs.hooks.join("podman"),
        more: String::new(),
    };
    Ok(Plan {
        changes: vec![drop_in.change(inputs)?],
        notes: Vec::new(),
    })
}
