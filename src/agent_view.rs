//! Which GPUs the agent sees: the file `agent.json` of the state directory, which the agent writes and `sdg doctor` reads. A
//! service manager can close devices to a service, and the kernel then closes their KFD topology to it as well.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::{FileError, write_whole};
use crate::inventory::{Inventory, LeftOut};

const FILE: &str = "agent.json";

/// What the agent saw when it last looked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// How many GPUs can serve.
    pub gpus: usize,
    /// Which GPUs are left out and why, a line each.
    pub left_out: Vec<String>,
}

impl AgentView {
    /// Of what the agent has read.
    pub fn of(inventory: &Inventory) -> Self {
        Self {
            gpus: inventory.gpus.len(),
            left_out: inventory.left_out.iter().map(LeftOut::to_string).collect(),
        }
    }

    /// What the agent wrote; none where it never did, as before it wrote any.
    pub fn read(state: &Path) -> Option<Self> {
        let text = std::fs::read(state.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes it for everybody to read.
    pub fn write(&self, state: &Path) -> Result<(), FileError> {
        std::fs::create_dir_all(state).map_err(FileError::of("create", state))?;
        let json = serde_json::to_vec(self).unwrap_or_default();
        write_whole(&state.join(FILE), 0o644, &json)
    }

    /// What is missing, in one line, beside `there` GPUs that the node has; none where nothing is.
    pub fn fault(&self, there: usize) -> Option<String> {
        let all = there.max(self.gpus + self.left_out.len());
        if self.gpus == all && all > 0 {
            return None;
        }
        if all == 0 {
            return Some("sees no AMD GPU".to_owned());
        }
        let sees = format!("sees {} of {all} GPUs", self.gpus);
        Some(match self.left_out.as_slice() {
            [] => sees,
            [one] => format!("{sees}: {one}"),
            [first, others @ ..] => format!("{sees}: {first}; and {} more", others.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_one_line() {
        let view = |gpus, left_out: &[&str]| AgentView {
            gpus,
            left_out: left_out.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(view(8, &[]).fault(8), None);
        assert_eq!(view(0, &[]).fault(0).as_deref(), Some("sees no AMD GPU"));
        assert_eq!(view(0, &[]).fault(8).as_deref(), Some("sees 0 of 8 GPUs"));
        assert_eq!(
            view(6, &["GPU 1 is left out: a", "GPU 2 is left out: b"])
                .fault(8)
                .as_deref(),
            Some("sees 6 of 8 GPUs: GPU 1 is left out: a; and 1 more")
        );
    }

    #[test]
    fn what_was_written_is_read_and_anything_else_is_nothing() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(AgentView::read(state.path()), None);
        let view = AgentView {
            gpus: 1,
            left_out: vec!["GPU 1 is left out".to_owned()],
        };
        view.write(state.path()).unwrap();
        assert_eq!(AgentView::read(state.path()), Some(view));
        std::fs::write(state.path().join(FILE), "{").unwrap();
        assert_eq!(AgentView::read(state.path()), None);
    }
}
