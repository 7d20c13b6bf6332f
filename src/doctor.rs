//! What a machine has and lacks for slices: facts are read, each check is a pure function of them.
//!
//! ```text
//! Machine, Kernel, Engines, Layers (read) → a Check each → one page; do slices work here?
//! ```

pub mod engines;
pub mod kernel;
pub mod layers;
pub mod machine;

use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Good,
    /// Not there; slices work without it.
    Absent,
    /// Slices do not work like this.
    Broken,
}

/// A check's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which part of the machine.
    pub group: &'static str,
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What changes that: a command, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Check {
    fn good(group: &'static str, name: &'static str, found: impl Into<String>) -> Self {
        Self {
            group,
            name,
            state: State::Good,
            found: found.into(),
            mend: None,
        }
    }

    fn with(mut self, state: State, mend: impl Into<String>) -> Self {
        self.state = state;
        self.mend = Some(mend.into());
        self
    }
}

/// Whether slices work with all of this.
pub fn works(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Broken)
}

/// One page for people.
pub fn page(checks: &[Check]) -> String {
    let mut page = String::new();
    let mut group = "";
    for check in checks {
        if check.group != group {
            group = check.group;
            page += &format!("{group}\n");
        }
        let mark = match check.state {
            State::Good => "good",
            State::Absent => "-",
            State::Broken => "BROKEN",
        };
        page += &format!("  {mark:7} {:18} {}\n", check.name, check.found);
        if let Some(mend) = &check.mend {
            page += &format!("  {:26} → {mend}\n", "");
        }
    }
    page += if works(checks) {
        "slices work here\n"
    } else {
        "slices do not work here\n"
    };
    page
}
