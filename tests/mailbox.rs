//! The packages name one mailbox, in one place, under a domain that is nobody's: mail to a stranger is not ours to ask for.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the project has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Where packages, units, images and charts get their metadata from.
const SOURCES: [&str; 8] = [
    "Cargo.toml",
    "src",
    "packaging",
    "scripts",
    "Makefile",
    "cdi",
    "hooks.d",
    "examples",
];

fn files_below(path: PathBuf) -> Vec<PathBuf> {
    match fs::read_dir(&path) {
        Ok(entries) => entries
            .flat_map(|entry| files_below(entry.unwrap().path()))
            .collect(),
        Err(_) => vec![path],
    }
}

/// Words of the form `user@host.domain`, but names of systemd's units.
fn mailboxes(text: &str) -> Vec<&str> {
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    text.split(|c| !of_a_word(c))
        .filter(|word| {
            word.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty() && host.trim_end_matches('.').contains('.') && !host.ends_with(".service")
            })
        })
        .collect()
}

#[test]
fn the_only_mailbox_is_the_packages_maintainer_under_a_domain_that_is_nobodys() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in SOURCES.iter().flat_map(|name| files_below(project.join(name))) {
        let bytes = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let place = file.strip_prefix(project).unwrap().display().to_string();
        found.extend(
            mailboxes(&text)
                .into_iter()
                .map(|mailbox| format!("{place}: {mailbox}")),
        );
    }
    assert_eq!(found, ["Cargo.toml: maintainers@sdg.invalid"]);

    let manifest: toml::Table = fs::read_to_string(project.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let maintainer = manifest["package"]["metadata"]["deb"]["maintainer"]
        .as_str()
        .unwrap();
    assert_eq!(maintainer, "The sdg maintainers <maintainers@sdg.invalid>");
}
