//! `sdg slice list --watch`: the listing again whenever it has changed, for scripts.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::Output;
use crate::commands::slice_list::{entries, look, slices_table};
use crate::commands::{CommandError, write_out};
use crate::host::Host;
use crate::inventory::Detail;
use crate::snapshot::Snapshot;

/// Milliseconds between two looks. What is used changes without any file being written by a name that could be watched.
const INTERVAL: u16 = 250;

/// Prints until the reader of stdout goes away.
pub fn run(host: &Host, output: Output) -> Result<(), CommandError> {
    let failed = |operation| move |source| CommandError::Stream { operation, source };
    let mut printed = None;
    loop {
        let text = document(&look(host, Detail::Placement)?, output)?;
        if printed.as_ref() != Some(&text) {
            match write_out(text.as_bytes()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.map_err(failed("write to stdout"))?,
            }
            printed = Some(text);
        }
        if reader_is_gone().map_err(failed("wait on stdout"))? {
            return Ok(());
        }
    }
}

fn document(snapshot: &Snapshot, output: Output) -> Result<String, CommandError> {
    let entries = entries(snapshot);
    let text = if output.json {
        serde_json::to_string(&entries)?
    } else {
        slices_table(&entries)
    };
    Ok(text + "\n")
}

/// Sleeps for the interval; ends early if nobody can read stdout any more.
fn reader_is_gone() -> std::io::Result<bool> {
    let stdout = std::io::stdout();
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut watched, PollTimeout::from(INTERVAL)) {
        Ok(count) => Ok(count > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
