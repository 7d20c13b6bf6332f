//! Errors and warnings: a line each, where somebody reads it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::Pid;

use crate::one_line::one_line;
use crate::sys;

/// `/dev/null`. Source: Linux, Documentation/admin-guide/devices.txt.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// conmon's variable with the number of its socket to the engine.
const SYNC_PIPE: &[u8] = b"_OCI_SYNCPIPE=";

/// Whether an engine called this program, as a hook.
static IS_HOOK: AtomicBool = AtomicBool::new(false);

/// Notes that an engine called this program: where it discards our stderr, its own is written to.
pub fn speak_as_hook() {
    IS_HOOK.store(true, Ordering::Relaxed);
}

/// Writes one line to stderr, whatever is in the text. Podman gives precreate hooks `/dev/null` for it, crun all hooks, and
/// they report exit codes only; then the line goes to stderr of the engine itself, above its own error.
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
    let caller = nix::unistd::getppid();
    let engine = engine_behind(caller).unwrap_or(caller);
    sys::duplicate_of(engine, libc::STDERR_FILENO)
        .ok()
        .map(File::from)
}

/// The engine that waits for a runtime's monitor. Podman's conmon is nobody's child; it has a socket to who started it, and
/// says which in its environment. Source: conmon, `_OCI_SYNCPIPE` (utils.c, `get_pipe_fd_from_env`); Podman makes the
/// pair (libpod, `newPipe`).
fn engine_behind(runtime: Pid) -> Option<Pid> {
    let monitor = parent(runtime)?;
    let environment = std::fs::read(format!("/proc/{monitor}/environ")).ok()?;
    let socket = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(SYNC_PIPE))?;
    let socket = std::str::from_utf8(socket).ok()?.parse().ok()?;
    sys::peer_process(&sys::duplicate_of(monitor, socket).ok()?).ok()
}

fn parent(process: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok().map(Pid::from_raw)
}
