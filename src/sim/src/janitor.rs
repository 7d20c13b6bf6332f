//! Removes the node's directory when the supervisor is gone, however it went: a child that waits for the other end of
//! a pipe to close.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

/// The child, and the pipe that keeps it waiting.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    directory: PathBuf,
}

impl Janitor {
    /// Watches over `directory`.
    pub fn start(directory: &Path) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = Command::new(env::current_exe()?)
            .arg("clean")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Self {
            child,
            directory: directory.to_owned(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Removes the directory now.
    pub fn clean(mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
        remove(&self.directory);
    }
}

/// `sdg-sim clean`: waits until standard input ends, then removes `directory`.
pub fn wait_and_remove(directory: &Path) {
    let _end = io::copy(&mut io::stdin(), &mut io::sink());
    remove(directory);
}

/// Removes the directory, and what [`crate::node::build`] had of it where it was killed half way.
fn remove(directory: &Path) {
    let _absent = fs::remove_dir_all(directory);
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return;
    };
    let partial = format!("{}.partial-", name.to_string_lossy());
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&partial) {
            let _absent = fs::remove_dir_all(entry.path());
        }
    }
}
