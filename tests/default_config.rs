//! The configuration file that packages install says every key, and its defaults are the program's.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::path::Path;

use sdg::config::{Config, ConfigError};

const INSTALLED: &str = include_str!("../packaging/config.toml");

/// A commented key of the file.
struct Line<'a> {
    key: &'a str,
    /// As it would be without the comment.
    text: &'a str,
    /// Whether it stands below "for example:".
    is_example: bool,
}

fn lines() -> Vec<Line<'static>> {
    let mut before = "";
    let mut found = Vec::new();
    for line in INSTALLED.lines() {
        if let Some(text) = line.strip_prefix('#').filter(|text| !text.starts_with(' ')) {
            found.push(Line {
                key: text.split_once(" = ").unwrap().0,
                text,
                is_example: before.ends_with("for example:"),
            });
        }
        before = line;
    }
    found
}

fn read(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    Config::read(&path, true)
}

fn uncommented(is_example: bool) -> String {
    let texts = lines().into_iter().filter(|line| line.is_example == is_example);
    texts.map(|line| format!("{}\n", line.text)).collect()
}

/// The keys that the program knows, from what it says of one that it does not.
fn known_keys() -> BTreeSet<String> {
    let error = read("no_such_key = 1\n").unwrap_err().to_string();
    let (_, expected) = error.split_once("expected one of").unwrap();
    let quoted = expected.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

#[test]
fn the_installed_file_is_all_comments() {
    assert!(
        INSTALLED
            .lines()
            .all(|line| line.is_empty() || line.starts_with('#')),
        "{INSTALLED}"
    );
    assert_eq!(
        Config::read(Path::new("packaging/config.toml"), true).unwrap(),
        Config::default()
    );
}

#[test]
fn every_key_is_there_once() {
    let there: Vec<_> = lines().into_iter().map(|line| line.key.to_owned()).collect();
    let keys: BTreeSet<_> = there.iter().cloned().collect();
    assert_eq!(keys.len(), there.len(), "{there:?}");
    assert_eq!(keys, known_keys());
}

#[test]
fn the_defaults_that_it_shows_are_the_defaults() {
    assert_eq!(read(&uncommented(false)).unwrap(), Config::default());
    // Where the default is that the key is absent, an example of it changes something, and is accepted.
    for line in lines().into_iter().filter(|line| line.is_example) {
        assert_ne!(read(line.text).unwrap(), Config::default(), "{}", line.key);
    }
}
