//! Configuration files below a root: read into a [`Tree`], and changed as planned.
//!
//! ```text
//! Source → Tree (path as on the machine → text) → … → Change → temporary file, rename
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::engines::Change;
use crate::files::{FileError, below, make_dir, replace_whole};

/// Mode of files and directories that are new.
const NEW_FILE: u32 = 0o644;
const NEW_DIRECTORY: u32 = 0o755;

/// Where configuration is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One file.
    File(PathBuf),
    /// The files of a directory whose name ends so.
    Directory(PathBuf, &'static str),
}

/// Text of configuration files by their paths on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<PathBuf, String>,
}

impl Tree {
    /// Reads what is there below a root.
    pub fn read(root: &Path, sources: &[Source]) -> Result<Self, FileError> {
        let mut tree = Self::default();
        for source in sources {
            match source {
                Source::File(path) => tree.add(root, path)?,
                Source::Directory(directory, suffix) => {
                    for path in listed(root, directory, suffix)? {
                        tree.add(root, &path)?;
                    }
                }
            }
        }
        Ok(tree)
    }

    /// Puts a file in.
    pub fn insert(&mut self, path: &Path, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    /// A file's text.
    pub fn text(&self, path: &Path) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The files directly in a directory, by name.
    pub fn directory(&self, directory: &Path) -> impl Iterator<Item = (&Path, &str)> {
        let files = self.files.iter();
        files
            .filter(move |(path, _)| path.parent() == Some(directory))
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// The tree after a plan.
    pub fn with(mut self, changes: &[Change]) -> Self {
        for change in changes {
            match &change.after {
                Some(text) => self.insert(&change.path, text),
                None => {
                    self.files.remove(&change.path);
                }
            }
        }
        self
    }

    fn add(&mut self, root: &Path, path: &Path) -> Result<(), FileError> {
        match read_file(root, path)? {
            Some(text) => self.insert(path, &text),
            None => return Ok(()),
        }
        Ok(())
    }
}

/// A file's text below a root, none if it is not there.
pub fn read_file(root: &Path, path: &Path) -> Result<Option<String>, FileError> {
    let real = below(root, path);
    match std::fs::read_to_string(&real) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(FileError::of("read", &real)(error)),
    }
}

fn listed(root: &Path, directory: &Path, suffix: &str) -> Result<Vec<PathBuf>, FileError> {
    let real = below(root, directory);
    let entries = match std::fs::read_dir(&real) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::of("read", &real)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::of("read", &real))?;
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(suffix) && entry.path().is_file() {
            paths.push(directory.join(name));
        }
    }
    Ok(paths)
}

/// Does what was planned. Each file is replaced as a whole by a rename and keeps its owner and mode.
pub fn apply(root: &Path, changes: &[Change]) -> Result<(), FileError> {
    for change in changes {
        let path = below(root, &change.path);
        match &change.after {
            Some(text) => replace(&path, text)?,
            None => std::fs::remove_file(&path).map_err(FileError::of("remove", &path))?,
        }
    }
    Ok(())
}

fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    // A link to the real file (some people keep their configuration in one place) stays a link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    make_dir(path.parent().unwrap_or(Path::new("/")), NEW_DIRECTORY)?;
    replace_whole(path, NEW_FILE, text.as_bytes())
}
