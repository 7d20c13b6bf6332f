//! `make install` over what is installed and in use.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const SHIM: &str = "usr/lib/sdg/libsdg.so";
const CONFIG: &str = "etc/sdg/config.toml";

/// What `make build` lays out, with this text in every file.
fn lay_out(dist: &Path, text: &str) {
    for name in ["usr/bin/sdg", SHIM, CONFIG] {
        let path = dist.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_running_containers_have_mapped_is_replaced_and_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let (dist, root) = (dir.path().join("dist"), dir.path().join("root"));
    let install = |text: &str| {
        lay_out(&dist, text);
        let status = Command::new("make")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--silent", "install"])
            .arg(format!("DIST={}", dist.display()))
            .arg(format!("DESTDIR={}", root.display()))
            .status();
        assert!(status.unwrap().success());
    };
    install("old");
    let mut in_use = File::open(root.join(SHIM)).unwrap();
    install("new");
    let mut text = String::new();
    in_use.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read_to_string(root.join(SHIM)).unwrap(), "new");
    assert_eq!(
        fs::read_to_string(root.join(CONFIG)).unwrap(),
        "old",
        "a person's file"
    );
}
