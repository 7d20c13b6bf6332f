//! The configuration file that packages install says every key, and its defaults are the program's; README's tables of keys are
//! whole.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sdg::config::{Config, ConfigError};
use sdg::request::KEYS;

const INSTALLED: &str = include_str!("../packaging/config.toml");
const README: &str = include_str!("../README.md");

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

/// The table of a section of README: keys with the second column.
fn table(heading: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let columns = rows.map(|row| {
        let (key, rest) = row.split_once("` | ").unwrap();
        (key, rest.split_once(" | ").unwrap().0)
    });
    columns.collect()
}

fn keys<'a>(table: &BTreeMap<&'a str, &'a str>) -> BTreeSet<&'a str> {
    table.keys().copied().collect()
}

#[test]
fn readme_says_every_key_of_the_file_and_its_default() {
    let table = table("Configuration");
    assert_eq!(keys(&table), known_keys().iter().map(String::as_str).collect());
    for line in lines().into_iter().filter(|line| !line.is_example) {
        let (_, default) = line.text.split_once(" = ").unwrap();
        assert_eq!(table[line.key], format!("`{default}`"), "{}", line.key);
    }
}

#[test]
fn readme_says_every_key_of_a_request() {
    assert_eq!(
        keys(&table("The request")),
        KEYS.iter().map(|(_, name)| *name).collect()
    );
}
