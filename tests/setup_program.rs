//! `sdg setup` as a program, on trees below `--root`: what it prints, what it writes and whose the files are.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use assert_cmd::Command;

fn sdg(root: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::new(env!("CARGO_BIN_EXE_sdg"))
        .arg("setup")
        .args(arguments)
        .arg("--root")
        .arg(root)
        .assert()
}

fn stdout(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.success().get_output().stdout.clone()).unwrap()
}

#[test]
fn a_dry_run_shows_the_difference_and_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let text = stdout(sdg(
        root.path(),
        &["docker", "--dry-run", "--engine-version", "26.1.5"],
    ));
    for line in [
        "--- /dev/null",
        "+++ b/etc/docker/daemon.json",
        "+      \"path\": \"/usr/bin/sdg-runtime\"",
        "+    \"cdi\": true",
    ] {
        assert!(
            text.lines().any(|there| there == line),
            "{line:?} is not in\n{text}"
        );
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn files_keep_their_mode_and_links_stay_links() {
    let root = tempfile::tempdir().unwrap();
    let docker = root.path().join("etc/docker");
    let real = root.path().join("srv/daemon.json");
    std::fs::create_dir_all(&docker).unwrap();
    std::fs::create_dir_all(root.path().join("srv")).unwrap();
    std::fs::write(&real, "{\"debug\": true}\n").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&real, docker.join("daemon.json")).unwrap();
    let text = stdout(sdg(root.path(), &["docker"]));
    assert!(text.contains("changed /etc/docker/daemon.json\n"), "{text}");
    assert!(docker.join("daemon.json").is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o7777, 0o600);
    assert!(std::fs::read_to_string(&real).unwrap().contains("sdg-runtime"));
    assert_eq!(stdout(sdg(root.path(), &["docker"])), "nothing to change\n");
    stdout(sdg(root.path(), &["docker", "--remove"]));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&real).unwrap()).unwrap();
    assert_eq!(json, serde_json::json!({"debug": true}));
    let left: Vec<_> = std::fs::read_dir(root.path().join("srv")).unwrap().collect();
    assert_eq!(left.len(), 1, "temporary files are left");
}

#[test]
fn a_broken_file_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("etc/containerd/config.toml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "version = \n").unwrap();
    let assert = sdg(root.path(), &["containerd"]).failure();
    let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(
        error.starts_with("sdg: /etc/containerd/config.toml: line 1: "),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "version = \n");
}
