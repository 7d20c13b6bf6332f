//! What the packages say: one mailbox, in one place, under a domain that is nobody's (mail to a stranger is not ours to ask for),
//! and, once installed, that the agent is off.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the project has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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

const AGENT_IS_OFF: &str = "sdg: sdg-agent is off: watchdog = \"kill\" stops no process that has more than its slice. \
                            Switch it on: systemctl enable --now sdg-agent\n";

/// What a package's script prints on a machine whose `systemctl` ends with such a status.
fn printed(script: &str, args: &[&str], systemctl: i32) -> String {
    let bin = tempfile::tempdir().unwrap();
    let program = bin.path().join("systemctl");
    fs::write(&program, format!("#!/bin/sh\nexit {systemctl}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("/bin/sh")
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("packaging")
                .join(script),
        )
        .args(args)
        .env("PATH", bin.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_first_installation_says_in_one_line_that_the_agent_is_off_and_what_switches_it_on() {
    let (deb, rpm) = ("deb/scripts/postinst", "rpm/postinstall.sh");
    assert_eq!(printed(deb, &["configure", ""], 0), AGENT_IS_OFF);
    assert_eq!(printed(rpm, &["1"], 1), AGENT_IS_OFF);
    // By the distribution's presets.
    assert_eq!(printed(rpm, &["1"], 0), "", "it is enabled");
    for (script, update) in [(deb, &["configure", "0.1.0-1"] as &[&str]), (rpm, &["2"])] {
        assert_eq!(printed(script, update, 1), "", "an update");
    }
    assert_eq!(printed(deb, &["abort-upgrade", "0.1.0-1"], 1), "");
}
