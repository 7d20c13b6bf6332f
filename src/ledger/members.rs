//! Containers that have joined a person's slice: a file each in `members/`, named for the container's first process. A
//! file whose process is gone says nothing.

use std::path::{Path, PathBuf};

use crate::files::{FileError, make_dir, write_whole};
use crate::ledger::record::ProcessIdentity;

const DIRECTORY: &str = "members";

/// Writes down that a container is in.
pub fn join(slice_dir: &Path, process: ProcessIdentity, container: &str) -> Result<(), FileError> {
    let directory = slice_dir.join(DIRECTORY);
    make_dir(&directory, 0o700)?;
    for (path, process, _) in read(&directory)? {
        if !process.is_alive() {
            std::fs::remove_file(&path).map_err(FileError::of("remove", &path))?;
        }
    }
    let path = directory.join(format!("{}-{}", process.pid, process.start_time));
    write_whole(&path, 0o600, container.as_bytes())
}

/// First processes of the containers that are in and run.
pub fn living_processes(slice_dir: &Path) -> Result<Vec<ProcessIdentity>, FileError> {
    let processes = read(&slice_dir.join(DIRECTORY))?
        .into_iter()
        .map(|(_, process, _)| process);
    Ok(processes.filter(ProcessIdentity::is_alive).collect())
}

/// Ids of the containers that are in and run.
pub fn living(slice_dir: &Path) -> Result<Vec<String>, FileError> {
    let members = read(&slice_dir.join(DIRECTORY))?;
    let living = members.into_iter().filter(|(_, process, _)| process.is_alive());
    Ok(living.map(|(_, _, container)| container).collect())
}

fn read(directory: &Path) -> Result<Vec<(PathBuf, ProcessIdentity, String)>, FileError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::of("read", directory)(error)),
    };
    let mut members = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::of("read", directory))?.path();
        if let Some(process) = path.file_name().and_then(|name| process_of(name.to_str()?)) {
            let container = std::fs::read_to_string(&path).map_err(FileError::of("read", &path))?;
            members.push((path, process, container));
        }
    }
    Ok(members)
}

fn process_of(name: &str) -> Option<ProcessIdentity> {
    let (pid, start_time) = name.split_once('-')?;
    Some(ProcessIdentity {
        pid: pid.parse().ok()?,
        start_time: start_time.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_run_are_members() {
        let slice = tempfile::tempdir().unwrap();
        assert!(living(slice.path()).unwrap().is_empty());
        let me = ProcessIdentity::of(std::process::id() as i32).unwrap().unwrap();
        let earlier = ProcessIdentity {
            start_time: me.start_time - 1,
            ..me
        };
        join(slice.path(), earlier, "gone").unwrap();
        assert!(living(slice.path()).unwrap().is_empty());
        join(slice.path(), me, "here").unwrap();
        assert_eq!(living(slice.path()).unwrap(), ["here"]);
        assert_eq!(living_processes(slice.path()).unwrap(), [me]);
        let files = std::fs::read_dir(slice.path().join(DIRECTORY)).unwrap().count();
        assert_eq!(files, 1, "the dead one's file is left");
    }
}
