//! The targets, and what all of them hold to.

mod account;
mod cdi;
mod config;
mod image;
mod inventory;
mod ledger;
mod limits;
mod nri;
mod request;
mod runtime_call;
mod settings;
mod setup;
mod state;
mod usage;

use sdg::one_line::one_line;

const ALL: [(&str, fn(&[u8])); 14] = [
    ("account", account::run),
    ("cdi", cdi::run),
    ("config", config::run),
    ("image", image::run),
    ("inventory", inventory::run),
    ("ledger", ledger::run),
    ("limits", limits::run),
    ("nri", nri::run),
    ("request", request::run),
    ("runtime_call", runtime_call::run),
    ("settings", settings::run),
    ("setup", setup::run),
    ("state", state::run),
    ("usage", usage::run),
];

/// The target of a name.
pub fn named(name: &str) -> Option<fn(&[u8])> {
    ALL.iter().find(|target| target.0 == name).map(|target| target.1)
}

/// All names.
pub fn names() -> String {
    ALL.map(|target| target.0).join(" ")
}

/// An error says something, and what is said of it is one line that a terminal shows as it is.
fn is_one_line(error: &dyn std::fmt::Display) {
    let line = one_line(&error.to_string());
    assert!(!line.is_empty(), "an error says nothing");
    assert!(
        !line.contains(char::is_control),
        "an error is no plain line: {line:?}"
    );
}
