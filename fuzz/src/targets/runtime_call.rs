//! The command line of `sdg-runtime`, arguments ended by zero bytes: what is understood of a container stands on it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sdg::oci::runtime_call::{self, Verb};

pub fn run(data: &[u8]) {
    let arguments: Vec<OsString> = data
        .split(|byte| *byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    let call = runtime_call::parse(&arguments);
    let (id, paths) = match &call.verb {
        Verb::Create { bundle, config, id } => (id, vec![Some(bundle), config.as_ref()]),
        Verb::Delete { id } => (id, Vec::new()),
        Verb::Other => (&None, Vec::new()),
    };
    let log = call.log.as_ref().map(|log| &log.path);
    for path in paths.into_iter().chain([log]).flatten() {
        assert!(
            is_said(&arguments, path.as_os_str().as_bytes()),
            "{path:?} is of none of {arguments:?}"
        );
    }
    if let Some(id) = id {
        let is_argument = |argument: &OsString| argument.to_string_lossy() == *id;
        assert!(
            arguments.iter().any(is_argument),
            "{id:?} is none of {arguments:?}"
        );
    }
    if let Some(verb) = first_verb(&arguments) {
        let understood = matches!(call.verb, Verb::Create { .. });
        assert!(understood, "{verb:?} of {arguments:?} was overlooked");
    }
}

/// A path is an argument, the end of one (`--bundle=PATH`), or the working directory.
fn is_said(arguments: &[OsString], path: &[u8]) -> bool {
    path == b"."
        || arguments
            .iter()
            .any(|argument| argument.as_bytes().ends_with(path))
}

/// A verb that begins a container and that no option stands before.
fn first_verb(arguments: &[OsString]) -> Option<&OsStr> {
    arguments
        .first()
        .map(OsString::as_os_str)
        .filter(|first| [OsStr::new("create"), OsStr::new("run")].contains(first))
}
