//! How engines call an OCI runtime: `[GLOBAL OPTIONS] VERB [OPTIONS] ID`. Only what concerns a slice is understood; the
//! arguments themselves go on to the real runtime as they are. Pure.
//!
//! ```text
//! arguments → the verb, its bundle and container; where the engine reads errors
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Global options that are followed by a value, with one or two dashes. Source: `runc --help` and `crun --help` of the
/// versions in Debian bookworm to sid.
const GLOBAL_VALUES: [&str; 8] = [
    "log",
    "log-format",
    "log-level",
    "root",
    "criu",
    "rootless",
    "cgroup-manager",
    "systemd-cgroup-path",
];
/// Global options without a value.
const GLOBAL_SWITCHES: [&str; 7] = ["debug", "systemd-cgroup", "help", "h", "version", "v", "V"];
/// Options of create and run that are followed by a value.
const CREATE_VALUES: [&str; 8] = [
    "bundle",
    "b",
    "config",
    "f",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "pidfd-socket",
];
/// Every verb of runc and crun.
const VERBS: [&str; 19] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "help",
    "init",
    "kill",
    "list",
    "mounts",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
];

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeCall {
    /// What is asked.
    pub verb: Verb,
    /// Where the engine looks for the reason of a failure.
    pub log: Option<Log>,
}

/// A runtime's log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The file.
    pub path: PathBuf,
    /// JSON lines, or text.
    pub json: bool,
}

/// What concerns a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `create` and `run`: a container begins.
    Create {
        /// Directory with config.json; the working directory where it is not given.
        bundle: PathBuf,
        /// crun's `--config`: another file than the bundle's.
        config: Option<PathBuf>,
        /// The container; none where it is not given (the runtime complains).
        id: Option<String>,
    },
    /// `delete`: a container is over.
    Delete {
        /// The container.
        id: Option<String>,
    },
    /// Anything else.
    Other,
}

/// Reads a call.
pub fn parse(arguments: &[OsString]) -> RuntimeCall {
    let mut log = None;
    let mut json = false;
    let mut at = 0;
    let mut verb = None;
    while let Some(argument) = arguments.get(at) {
        at += 1;
        let Some((name, value)) = option(argument) else {
            verb = Some(argument.as_bytes());
            break;
        };
        let value = value.or_else(|| {
            let next = arguments.get(at).filter(|next| takes_next(name, next))?;
            at += 1;
            Some(next.as_bytes())
        });
        match (name, value) {
            (b"log", Some(path)) => log = Some(path),
            (b"log-format", Some(format)) => json = format == b"json",
            _ => {}
        }
    }
    RuntimeCall {
        verb: rest(verb.unwrap_or_default(), arguments.get(at..).unwrap_or_default()),
        log: log.filter(|path| !path.is_empty()).map(|path| Log {
            path: path_of(path),
            json,
        }),
    }
}

/// Whether the next argument is the value of a global option. One that we do not know has one unless a verb follows: a
/// verb must not be overlooked, since a container without its slice would start.
fn takes_next(name: &[u8], next: &OsStr) -> bool {
    let is = |known: &&str| known.as_bytes() == name;
    if GLOBAL_VALUES.iter().any(is) {
        return true;
    }
    let unknown = !GLOBAL_SWITCHES.iter().any(is);
    unknown && option(next).is_none() && !VERBS.iter().any(|verb| next.as_bytes() == verb.as_bytes())
}

fn rest(verb: &[u8], arguments: &[OsString]) -> Verb {
    let (options, id) = split(arguments);
    let last = |names: [&[u8]; 2]| {
        let found = options.iter().rev().find(|(name, _)| names.contains(name));
        found.and_then(|(_, value)| *value).map(path_of)
    };
    match verb {
        b"create" | b"run" => Verb::Create {
            bundle: last([b"bundle", b"b"]).unwrap_or_else(|| PathBuf::from(".")),
            config: last([b"config", b"f"]),
            id,
        },
        b"delete" => Verb::Delete { id },
        _ => Verb::Other,
    }
}

type Options<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

/// Options of a verb, and the first argument that is none.
fn split(arguments: &[OsString]) -> (Options<'_>, Option<String>) {
    let mut options = Vec::new();
    let mut id = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            id = id.or_else(|| arguments.next().map(text_of));
            break;
        }
        match option(argument) {
            None => id = id.or_else(|| Some(text_of(argument))),
            Some((name, value)) => {
                let takes = CREATE_VALUES.iter().any(|known| known.as_bytes() == name);
                let value = value.or_else(|| {
                    let next = takes.then(|| arguments.next()).flatten();
                    next.map(|next| next.as_bytes())
                });
                options.push((name, value));
            }
        }
    }
    (options, id)
}

/// Name and value of `--name`, `-name` or `--name=value`.
fn option(argument: &OsStr) -> Option<(&[u8], Option<&[u8]>)> {
    let name = argument.as_bytes().strip_prefix(b"-")?;
    let name = name.strip_prefix(b"-").unwrap_or(name);
    match name.iter().position(|byte| *byte == b'=') {
        Some(at) => Some((name.get(..at)?, name.get(at + 1..))),
        None => Some((name, None)),
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn text_of(argument: &OsString) -> String {
    argument.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> RuntimeCall {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn create(bundle: &str, config: Option<&str>) -> Verb {
        Verb::Create {
            bundle: bundle.into(),
            config: config.map(PathBuf::from),
            id: Some("c1".to_owned()),
        }
    }

    #[test]
    fn every_form_of_the_global_options_is_understood() {
        for line in [
            "create --bundle /b --pid-file /p c1",
            "create -b /b c1",
            "create --bundle=/b c1",
            "create c1 --bundle /b",
            "--debug create --bundle /b c1",
            "--root /r --log /l --log-format json create --bundle /b --console-socket /s c1",
            "--root=/r --log=/l --log-format=json create --bundle /b --preserve-fds 3 c1",
            "-root /r -log /l create -bundle /b c1",
            "--systemd-cgroup --rootless true --criu /c create --bundle /b --no-pivot --no-new-keyring c1",
            "--rootless=auto --systemd-cgroup=true --debug=false create --bundle /b c1",
            "--cgroup-manager cgroupfs --log-level warning create --bundle /b c1",
            "--root create create --bundle /b c1",
            "--future create --bundle /b c1",
            "--future value create --bundle /b c1",
            "--future=value create --bundle /b c1",
            "run --detach --bundle /b c1",
            "create --bundle /b -- c1",
        ] {
            assert_eq!(call(line).verb, create("/b", None), "{line}");
        }
        assert_eq!(call("create c1").verb, create(".", None));
        assert_eq!(call("create --config /f -b /b c1").verb, create("/b", Some("/f")));
    }

    #[test]
    fn the_log_is_where_the_engine_reads_it() {
        let json = call("--root /r --log /b/log.json --log-format json create --bundle /b c1");
        assert_eq!(
            json.log,
            Some(Log {
                path: "/b/log.json".into(),
                json: true
            })
        );
        assert_eq!(call("--log /l create c1").log.map(|log| log.json), Some(false));
        assert_eq!(call("create c1").log, None);
    }

    #[test]
    fn other_verbs_are_none_of_ours() {
        let id = Some("c1".to_owned());
        assert_eq!(call("--root /r delete --force c1").verb, Verb::Delete { id });
        for line in [
            "start c1",
            "--root /r state c1",
            "exec --process /create c1",
            "features",
            "--version",
            "--root create",
            "",
        ] {
            assert_eq!(call(line).verb, Verb::Other, "{line}");
        }
    }
}
