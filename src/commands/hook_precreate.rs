//! `sdg hook precreate`: a container's config from stdin to stdout, with a slice if its annotations ask for one.
//!
//! ```text
//! bytes ─ none of our keys ───────────────→ the same bytes
//!       └ request → slice → edits → spec ─→ edited bytes
//! ```

use std::path::Path;

use crate::apply::claims::{self, Claims};
use crate::commands::place_in_spec::{Asker, give_up, may_have_our_keys, place, request_of};
use crate::commands::{CommandError, print, read_stdin};
use crate::edits::HookStage;
use crate::host::Host;
use crate::ledger::record::{Holder, ProcessIdentity};
use crate::ledger::store::LedgerError;
use crate::oci::config::Spec;

/// Runs the hook.
pub fn run(host: &Host) -> Result<(), CommandError> {
    let text = read_stdin()?;
    if !may_have_our_keys(&text) {
        return print(&text);
    }
    match edit(host, &text)? {
        None => print(&text),
        Some((edited, slice)) => {
            // A config that did not arrive makes no container.
            print(&edited).inspect_err(|_| give_up(host, &slice))
        }
    }
}

/// The container's id, with which Podman names its cgroup: `/libpod_parent/libpod-ID`, `machine.slice:libpod:ID`.
fn container_of(config: &Spec) -> Option<&str> {
    const LENGTH: usize = 64;
    let path = config.text("/linux/cgroupsPath")?;
    let id = path.get(path.len().checked_sub(LENGTH)?..)?;
    id.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
}

/// The edited config and its slice; none where it stays as it is.
fn edit(host: &Host, text: &[u8]) -> Result<Option<(Vec<u8>, String)>, CommandError> {
    let mut config = Spec::parse(text)?;
    let Some(request) = request_of(&config)? else {
        return Ok(None);
    };
    let claims = Claims::of(&config);
    claims.check()?;
    claims.check_annotations()?;
    if let Some(slice) = claims.slices.first().copied() {
        return match host.ledger().record(slice) {
            Ok(record) => {
                if record.holder == Holder::Named {
                    claims::agree(&request, slice, &record.request)?;
                }
                Ok(None)
            }
            Err(LedgerError::NoSlice(_)) => Err(CommandError::StaleEdits(slice.to_owned())),
            Err(error) => Err(error.into()),
        };
    }
    let container = container_of(&config).map(str::to_owned);
    let asker = Asker {
        // Podman gives absolute paths; others are relative to the bundle, where precreate hooks are not called.
        bundle: Path::new("/"),
        maker: ProcessIdentity::of(nix::unistd::getppid().as_raw())
            .ok()
            .flatten(),
        container: container.as_deref(),
        // crun, or whatever Podman is told to use, is not known here.
        hooks: HookStage::ALL,
    };
    let slice = place(host, &mut config, request, &asker)?;
    Ok(Some((config.to_json(), slice)))
}
