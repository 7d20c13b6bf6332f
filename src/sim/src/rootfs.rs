//! Root file systems with ROCm user space, from Debian's packages, made by mmdebstrap.

mod mirror;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::fcntl::{Flock, FlockArg};

pub use self::mirror::Mirror;

const MMDEBSTRAP: &str = "mmdebstrap";

/// In a finished root file system: the release it was made with.
const STAMP: &str = "etc/sdg-rootfs";

/// What is left out to keep it small.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// apt on this machine knows no Debian mirror.
    #[error(
        "apt's sources here have no Debian mirror (deb … trixie main, for one); give it with --mirror URL"
    )]
    NoMirror,
    /// The program that makes root file systems is not installed.
    #[error("{MMDEBSTRAP} is not installed: apt-get install {MMDEBSTRAP}")]
    NoMmdebstrap,
    /// The directory holds something else.
    #[error("{path}: {what}; remove it or give another directory")]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// mmdebstrap failed for every suite there is to try; what it said went to standard error.
    #[error("{MMDEBSTRAP} {suites} for ROCm {release}: {status}")]
    Failed {
        /// The suites tried.
        suites: String,
        /// The release wanted.
        release: &'static str,
        /// How the last one ended.
        status: ExitStatus,
    },
    /// A file operation failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// A release of ROCm that some suite of Debian has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Release {
    /// ROCm 7.2
    #[value(name = "7.2")]
    V7_2,
    /// ROCm 6.4
    #[value(name = "6.4")]
    V6_4,
    /// ROCm 6.1, with HIP 5.7
    #[value(name = "6.1")]
    V6_1,
}

impl Release {
    /// The release's number.
    pub fn name(self) -> &'static str {
        match self {
            Self::V7_2 => "7.2",
            Self::V6_4 => "6.4",
            Self::V6_1 => "6.1",
        }
    }

    /// Suites to make it from, the first that has the packages: the base and one laid over it.
    fn suites(self) -> &'static [(&'static str, Option<&'static str>)] {
        match self {
            Self::V7_2 => &[("sid", Some("experimental"))],
            Self::V6_4 => &[("forky", None), ("sid", None)],
            Self::V6_1 => &[("trixie", None)],
        }
    }

    /// Packages, with the suite where it is not the base.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::V7_2 => &[
                "libamdhip64-7/experimental",
                "libhsa-runtime64-1/experimental",
                "rocminfo",
                "rocm-smi",
                "amd-smi",
                "python3",
            ],
            Self::V6_4 => &[
                "libamdhip64-6",
                "libhsa-runtime64-1",
                "rocminfo",
                "rocm-smi",
                "amd-smi",
                "python3",
            ],
            // trixie has no amd-smi.
            Self::V6_1 => &[
                "libamdhip64-5",
                "libhsa-runtime64-1",
                "rocminfo",
                "rocm-smi",
                "python3",
            ],
        }
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already.
    Present,
    /// It was made from this suite.
    Made(&'static str),
}

/// Makes `dir` a root file system with that release, unless it is one. It appears whole or not at all; a second
/// process that wants the same waits for the first.
pub fn make(release: Release, dir: &Path, mirror: Option<&str>) -> Result<Outcome, RootfsError> {
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| RootfsError::Io {
            operation,
            path,
            source,
        }
    };
    let occupied = |what: &str| RootfsError::Occupied {
        path: dir.to_owned(),
        what: what.to_owned(),
    };
    let name = dir
        .file_name()
        .ok_or_else(|| occupied("not a path that a directory can be made at"))?;
    let beside = |ending: &str| {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(ending);
        dir.with_file_name(hidden)
    };
    if is_made(release, dir)? {
        return Ok(Outcome::Present);
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(io("create", parent))?;
    }
    let lock = Lock::take(beside(".lock"))?;
    if is_made(release, dir)? {
        return Ok(Outcome::Present);
    }
    let mirror = mirror.map_or_else(Mirror::of_this_machine, |uri| Ok(Mirror::at(uri)))?;
    let partial = beside(".partial");
    let made = bootstrap(release, &mirror, &partial);
    if made.is_err() {
        remove(&partial);
    }
    let suite = made?;
    fs::rename(&partial, dir).map_err(io("create", dir))?;
    drop(lock);
    Ok(Outcome::Made(suite))
}

/// A lock file, held; it goes with the lock.
struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    fn take(path: PathBuf) -> Result<Self, RootfsError> {
        loop {
            let io = |operation| {
                let path = path.clone();
                move |source| RootfsError::Io {
                    operation,
                    path,
                    source,
                }
            };
            let file = File::create(&path).map_err(io("create"))?;
            let own = file.metadata().map_err(io("read"))?.ino();
            let held = Flock::lock(file, FlockArg::LockExclusive);
            let held = held.map_err(|(_, errno)| io("lock")(io::Error::from(errno)))?;
            // Whoever held it before has removed it: another file may be in its place by now.
            if fs::metadata(&path).is_ok_and(|there| there.ino() == own) {
                return Ok(Self { path, _file: held });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What is left behind is an empty file that the next one takes.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `dir` is finished. It is an error if something else is there.
fn is_made(release: Release, dir: &Path) -> Result<bool, RootfsError> {
    let occupied = |what| RootfsError::Occupied {
        path: dir.to_owned(),
        what,
    };
    match fs::read_to_string(dir.join(STAMP)) {
        Ok(stamp) if stamp.trim() == release.name() => Ok(true),
        Ok(stamp) => Err(occupied(format!("a root file system with ROCm {}", stamp.trim()))),
        Err(_) => match fs::read_dir(dir).map(Iterator::count) {
            Ok(1..) => Err(occupied("not empty, and no root file system of ours".to_owned())),
            _ => Ok(false),
        },
    }
}

/// Fills `partial` from the first suite that will do, and says which.
fn bootstrap(release: Release, mirror: &Mirror, partial: &Path) -> Result<&'static str, RootfsError> {
    let mut failure = None;
    for (suite, overlay) in release.suites() {
        remove(partial);
        eprintln!(
            "sdg-sim: making a root file system with ROCm {} from Debian {suite}; this takes a minute or more",
            release.name()
        );
        let mut command = command(release, mirror);
        command.arg(suite).arg(partial);
        for suite in std::iter::once(*suite).chain(*overlay) {
            command.arg(format!("deb {} {suite} main", mirror.uri));
        }
        let status = command.status().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RootfsError::NoMmdebstrap,
            _ => RootfsError::Io {
                operation: "run",
                path: MMDEBSTRAP.into(),
                source,
            },
        })?;
        if status.success() {
            return Ok(suite);
        }
        failure = Some(status);
    }
    let suites = release
        .suites()
        .iter()
        .map(|(suite, _)| *suite)
        .collect::<Vec<_>>()
        .join(" or ");
    Err(RootfsError::Failed {
        suites,
        release: release.name(),
        status: failure.unwrap_or_default(),
    })
}

fn command(release: Release, mirror: &Mirror) -> Command {
    let mut command = Command::new(MMDEBSTRAP);
    command
        .stdin(Stdio::null())
        .args(["--variant=minbase", "--quiet"]);
    // Where the clock is past a list's date, the list is still the one that there is.
    for option in [
        "Acquire::Check-Valid-Until \"false\"",
        "Acquire::Check-Date \"false\"",
        "Acquire::Languages \"none\"",
    ] {
        command.arg(format!("--aptopt={option}"));
    }
    for pattern in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    if let Some(keyring) = &mirror.keyring {
        command.arg(format!("--keyring={}", keyring.display()));
    }
    command.arg(format!("--include={}", release.packages().join(",")));
    // By a hook, because only mmdebstrap may write there when it runs without root.
    command.arg(format!(
        "--customize-hook=echo {} >\"$1/{STAMP}\"",
        release.name()
    ));
    command
}

/// Removes what an earlier attempt left; what cannot be removed makes the next one fail, and say so.
fn remove(partial: &Path) {
    if partial.exists() && fs::remove_dir_all(partial).is_err() {
        // Made without root, it belongs to other users of this user's namespace.
        let helper = ["--unshare-helper", "rm", "-rf"];
        let _ = Command::new(MMDEBSTRAP)
            .args(helper)
            .arg(partial)
            .stdin(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_one_is_used_again_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rocm");
        assert!(!is_made(Release::V7_2, &root).unwrap());
        fs::create_dir_all(root.join("etc")).unwrap();
        let message = make(Release::V7_2, &root, None).unwrap_err().to_string();
        assert!(
            message.contains("not empty, and no root file system of ours"),
            "{message}"
        );
        fs::write(root.join(STAMP), "7.2\n").unwrap();
        assert_eq!(make(Release::V7_2, &root, None).unwrap(), Outcome::Present);
        let message = make(Release::V6_1, &root, None).unwrap_err().to_string();
        assert!(
            message.contains("a root file system with ROCm 7.2; remove it"),
            "{message}"
        );
    }

    #[test]
    fn a_lock_is_taken_again_after_it_went() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let first = Lock::take(path.clone()).unwrap();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(path).map(|lock| lock.path.exists())
        });
        drop(first);
        assert!(
            second.join().unwrap().unwrap(),
            "the second holds a file that is there"
        );
        assert!(!path.exists());
    }

    #[test]
    fn the_command_names_the_key_ring_and_the_packages() {
        let mirror = Mirror {
            uri: "https://mirror.example".into(),
            keyring: Some("/k.gpg".into()),
        };
        let command = command(Release::V6_1, &mirror);
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        assert!(args.contains(&"--keyring=/k.gpg".to_owned()), "{args:?}");
        assert!(
            args.iter().any(|arg| arg.starts_with("--include=libamdhip64-5,")),
            "{args:?}"
        );
    }
}
