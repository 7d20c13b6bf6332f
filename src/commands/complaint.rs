//! Errors and warnings: a line each, where somebody reads it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::one_line::one_line;
use crate::sys;

/// `/dev/null`. Source: Linux, Documentation/admin-guide/devices.txt.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// Whether an engine called this program, as a hook.
static IS_HOOK: AtomicBool = AtomicBool::new(false);

/// Notes that an engine called this program: where it discards our stderr, its own is written to.
pub fn speak_as_hook() {
    IS_HOOK.store(true, Ordering::Relaxed);
}

/// Writes one line to stderr, whatever is in the text. Podman gives precreate hooks `/dev/null` for it and reports
/// their exit code only; then the line goes to stderr of the engine itself, above its own error.
pub fn complain(text: &str) {
    let line = format!("sdg: {}\n", one_line(text));
    // There is nobody left to tell if this fails.
    let _ = match (IS_HOOK.load(Ordering::Relaxed) && is_discarded())
        .then(engine_stderr)
        .flatten()
    {
        Some(mut engine) => engine.write_all(line.as_bytes()),
        _ => io::stderr().write_all(line.as_bytes()),
    };
}

/// Whether stderr is the null device.
fn is_discarded() -> bool {
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|metadata| {
        let device = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
        metadata.file_type().is_char_device() && device == NULL_DEVICE
    })
}

/// A duplicate of the engine's own descriptor: opened anew, a file would be written at another position and overwritten.
fn engine_stderr() -> Option<File> {
    sys::duplicate_of(nix::unistd::getppid(), libc::STDERR_FILENO)
        .ok()
        .map(File::from)
}
