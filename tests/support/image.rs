//! A container's root file system with real programs in it.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where glibc's loader is.
pub const GLIBC_LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Fills a root file system with what a container of `/bin/sh` or `true` needs to be held by the shim.
pub fn fill(root: &Path) {
    std::fs::create_dir_all(root.join("etc")).unwrap();
    for file in ["/bin/sh", "/bin/true", GLIBC_LOADER] {
        copy(file, &root.join(&file[1..]));
    }
}

fn copy(from: &str, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

/// An image in a directory that goes with it.
pub struct Image(tempfile::TempDir);

impl Image {
    /// With glibc's loader and no program.
    pub fn new() -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        for directory in ["etc", "usr/bin", "volume", "opt"] {
            std::fs::create_dir_all(image.path(directory)).unwrap();
        }
        image.copy(GLIBC_LOADER, &GLIBC_LOADER[1..]);
        image
    }

    /// Its root.
    pub fn root(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// One of the machine's files.
    pub fn copy(&self, from: &str, to: &str) {
        copy(from, &self.path(to));
    }

    /// A program that does nothing, made by gcc.
    pub fn compile(&self, to: &str, flags: &[&str]) {
        self.compile_with("gcc", to, flags);
    }

    /// A program that does nothing.
    pub fn compile_with(&self, compiler: &str, to: &str, flags: &[&str]) {
        let source = self.path("program.c");
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let status = Command::new(compiler)
            .args(flags)
            .arg("-o")
            .arg(self.path(to))
            .arg(&source)
            .status();
        assert!(status.unwrap().success(), "{compiler} {flags:?}");
    }

    /// An executable file of this text.
    pub fn script(&self, to: &str, text: &str) {
        std::fs::write(self.path(to), text).unwrap();
        std::fs::set_permissions(self.path(to), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
