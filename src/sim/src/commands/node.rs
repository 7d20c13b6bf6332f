//! `sdg-sim node`: write a node's files, for programs that take a `--sysroot`.

use crate::cli::NodeArgs;
use crate::gpu::gpus;
use crate::node::{self, NodeError};
use crate::preset::{Preset, PresetError};

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum NodeCommandError {
    /// Of the preset.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// Of the files.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Writes it, and says what was written.
pub fn run(args: &NodeArgs) -> Result<(), NodeCommandError> {
    let mut preset = Preset::named(&args.preset.preset)?;
    preset.set_all(&args.preset.changes)?;
    let node = node::build(&preset, &args.dir)?;
    println!(
        "{}: {} GPUs, {}",
        args.dir.display(),
        gpus(&preset).len(),
        preset.product
    );
    if let Some(first) = node.missing_devices.first() {
        let rest = node.missing_devices.len() - 1;
        eprintln!(
            "warning: not allowed to make {} and {rest} other device nodes (root is)",
            first.display()
        );
    }
    Ok(())
}
