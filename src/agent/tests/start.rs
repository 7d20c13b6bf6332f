//! How the agent starts, and what it says where it cannot.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

use assert_cmd::Command;

#[test]
fn a_wrong_configuration_is_one_line_and_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    std::fs::write(&config, "claim_grace = 30\nwatch_dog = true\n").unwrap();
    let output = Command::cargo_bin("sdg-agent")
        .unwrap()
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("config.toml:2") && said.contains("watch_dog"),
        "{said}"
    );
}
