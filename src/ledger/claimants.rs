//! Who may still claim a slice that was placed for a container: the processes that know the container's id.
//!
//! An engine that failed between the hook and the container's start has left nobody behind. One that was killed may have left
//! a monitor and a runtime, both of which have the id among their arguments until the container's hooks have run.

use std::fs;
use std::os::unix::ffi::OsStrExt;

/// Whether a process has this id among its arguments. What cannot be found out counts as one.
pub fn may_come(container: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    processes
        .flatten()
        .filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit))
        // A process that has ended meanwhile has no arguments to read.
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|arguments| memchr::memmem::find(&arguments, container.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_with_the_id_among_its_arguments_may_come_until_it_ends() {
        let id = format!("{:064x}", std::process::id());
        assert!(!may_come(&id));
        let mut monitor = Command::new("sh")
            .args(["-c", "echo begun; read -r line", "monitor", "--cid", &id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The kernel lets `spawn` return before it shows the new arguments.
        let mut begun = [0; 6];
        monitor.stdout.take().unwrap().read_exact(&mut begun).unwrap();
        assert!(may_come(&id));
        drop(monitor.stdin.take());
        monitor.wait().unwrap();
        assert!(!may_come(&id));
    }
}
