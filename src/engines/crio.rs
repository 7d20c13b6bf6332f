//! CRI-O: our hooks directory and a runtime handler `sdg`, in one drop-in. A pod asks by annotations alone (hooks), or
//! by the handler too, where the spec itself is edited.

use std::path::Path;

use crate::engines::dropin::{DropIn, table_text};
use crate::engines::tree::Source;
use crate::engines::{Inputs, Plan, RUNTIME_NAME, SetupError};

/// Source: crio.conf(5), crio.conf.d(5).
const CONFIG: &str = "/etc/crio/crio.conf";
const DROP_INS: &str = "/etc/crio/crio.conf.d";
const OURS: &str = "/etc/crio/crio.conf.d/zz-sdg.conf";
const DEFAULT_HOOKS: &str = "/usr/share/containers/oci/hooks.d";
/// Where the real runtime keeps its state.
const RUNTIME_ROOT: &str = "/run/sdg-runtime";

/// Where the plan looks. CRI-O takes every file of the directory, whatever its name ends in.
pub fn sources() -> Vec<Source> {
    vec![
        Source::File(CONFIG.into()),
        Source::Directory(DROP_INS.into(), ""),
    ]
}

/// Plans what changes.
pub fn plan(inputs: &Inputs<'_>) -> Result<Plan, SetupError> {
    let ours = Path::new(OURS);
    let drop_ins = inputs.tree.directory(Path::new(DROP_INS)).map(|(path, _)| path);
    let runtime = inputs.programs.runtime.to_string_lossy();
    let drop_in = DropIn {
        engine: "crio",
        file: ours,
        earlier: [Path::new(CONFIG)]
            .into_iter()
            .chain(drop_ins.filter(|path| *path != ours))
            .collect(),
        table: &["crio", "runtime"],
        default_hooks: DEFAULT_HOOKS,
        our_hooks: inputs.programs.hooks.join("crio"),
        more: table_text(
            &format!("crio.runtime.runtimes.{RUNTIME_NAME}"),
            &[
                ("runtime_path", &runtime),
                ("runtime_type", "oci"),
                ("runtime_root", RUNTIME_ROOT),
            ],
        ),
    };
    Ok(Plan {
        changes: vec![drop_in.change(inputs)?],
        notes: Vec::new(),
    })
}
