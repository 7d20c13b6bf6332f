//! The machine that a command works on: where its files are, and how hooks find this program again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cgroups;
use crate::config::{self, Config, ConfigError};
use crate::coverage::library::{self, Unfit};
use crate::edits::ProgramCall;
use crate::files::{below, normalized};
use crate::inventory::{Detail, Inventory, InventoryError};
use crate::ledger::reap::Patience;
use crate::ledger::store::Ledger;
use crate::placement::Rules;

/// Where the system is by default.
pub const DEFAULT_SYSROOT: &str = "/";
/// Where the ledger is by default.
pub const DEFAULT_STATE: &str = "/run/sdg";

/// What `--sysroot`, `--state` and `--config` say, absent where they were not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Where /sys, cgroups in it, and /dev are read.
    pub sysroot: Option<PathBuf>,
    /// Where the ledger is.
    pub state: Option<PathBuf>,
    /// The configuration file.
    pub config: Option<PathBuf>,
}

/// Places and choices, read once for a command.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where /sys, cgroups in it, and /dev are read; absolute.
    pub sysroot: PathBuf,
    /// Where the ledger is; absolute.
    pub state: PathBuf,
    /// The administrator's choices.
    pub config: Config,
    /// Options for hooks.
    options: Vec<String>,
    /// The program that hooks call, where it is not this one.
    hook_program: Option<PathBuf>,
}

/// Why a command cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A relative path whose directory is unknown.
    #[error("{option} {}: {source}", path.display())]
    Path {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This program's own file.
    #[error("read /proc/self/exe: {0}")]
    Program(std::io::Error),
    /// No program for the hooks.
    #[error("{} is not there: containers' hooks would fail (install sdg-agent beside sdg)", .0.display())]
    NoHookProgram(PathBuf),
    /// A library that not every program of a container can load.
    #[error("{}: containers' programs would run without a limit: {reason} ({})", path.display(), reason.mend(path))]
    UnfitShim {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: Unfit,
    },
    /// No library for the containers.
    #[error(
        "{} is not there: containers would run without a limit (set shim = \"/path/to/libsdg.so\" in {config})",
        path.display()
    )]
    NoShim {
        /// Where it was looked for.
        path: PathBuf,
        /// The configuration file.
        config: &'static str,
    },
}

impl Host {
    /// Reads the configuration and makes the paths absolute.
    pub fn new(places: &Places) -> Result<Self, HostError> {
        let mut host = Self::unconfigured(places)?;
        let config = absolute("--config", &places.config)?;
        let path = config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
        host.config = Config::read(path, config.is_some())?;
        Ok(host)
    }

    /// With the default configuration, for what must be done whatever the file says.
    pub fn unconfigured(places: &Places) -> Result<Self, HostError> {
        let mut options = Vec::new();
        let mut place = |option: &'static str, given: &Option<PathBuf>, default: &str| {
            let path = absolute(option, given)?.unwrap_or_else(|| default.into());
            if path != Path::new(default) {
                options.extend([option.to_owned(), path.to_string_lossy().into_owned()]);
            }
            Ok::<_, HostError>(path)
        };
        let sysroot = place("--sysroot", &places.sysroot, DEFAULT_SYSROOT)?;
        let state = place("--state", &places.state, DEFAULT_STATE)?;
        place("--config", &places.config, config::DEFAULT_PATH)?;
        Ok(Self {
            sysroot,
            state,
            config: Config::default(),
            options,
            hook_program: None,
        })
    }

    /// For another program than `sdg`: hooks call the `sdg` that is installed beside it.
    pub fn with_hooks_beside(mut self) -> Result<Self, HostError> {
        let path = own_path()?.with_file_name("sdg");
        if !path.is_file() {
            return Err(HostError::NoHookProgram(path));
        }
        self.hook_program = Some(path);
        Ok(self)
    }

    /// The ledger.
    pub fn ledger(&self) -> Ledger {
        Ledger::at(&self.state)
    }

    /// Where the agent takes listeners of guarded containers.
    pub fn guard_socket(&self) -> PathBuf {
        self.state.join(crate::guarded_calls::SOCKET)
    }

    /// Where the agent places slices for ordinary users.
    pub fn broker_socket(&self) -> PathBuf {
        self.state.join(crate::broker::SOCKET)
    }

    /// Where cgroups are.
    pub fn cgroups(&self) -> PathBuf {
        cgroups::root(&self.sysroot)
    }

    /// Where CDI files are. A simulated node's are not put where the machine's engines look, unless somebody says so.
    pub fn cdi_dir(&self) -> PathBuf {
        match &self.config.cdi_dir {
            Some(directory) => directory.clone(),
            None => below(&self.sysroot, Path::new("/etc/cdi")),
        }
    }

    /// Its GPUs, those marked that the configuration leaves out.
    pub fn inventory(&self, detail: Detail) -> Result<Inventory, InventoryError> {
        let mut inventory = Inventory::read(&self.sysroot, detail)?;
        inventory.exclude(&self.config.exclude_gpus);
        Ok(inventory)
    }

    /// Rules of placement.
    pub fn rules(&self) -> Rules {
        Rules {
            shape: self.config.shape,
            reserved_bytes: self.config.reserved_memory,
        }
    }

    /// How long unclaimed slices are kept.
    pub fn patience(&self) -> Patience {
        Patience {
            grace: self.config.claim_grace,
            timeout: self.config.claim_timeout,
        }
    }

    /// How hooks call this program with the same places.
    pub fn program(&self) -> Result<ProgramCall, HostError> {
        Ok(ProgramCall {
            path: match &self.hook_program {
                Some(path) => path.clone(),
                None => own_path()?,
            },
            options: self.options.clone(),
        })
    }

    /// The library that containers get. That it is not there, or cannot be loaded by each of their programs, is an error: a
    /// slice without it would have no limit.
    pub fn shim(&self) -> Result<PathBuf, HostError> {
        let path = match &self.config.shim {
            Some(path) => path.clone(),
            None => normalized(&own_path()?.join("../../lib/sdg/libsdg.so")),
        };
        let checked = match File::open(&path) {
            Ok(file) => library::check(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HostError::NoShim {
                    path,
                    config: config::DEFAULT_PATH,
                });
            }
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(()) => Ok(path),
            Err(reason) => Err(HostError::UnfitShim { path, reason }),
        }
    }
}

fn absolute(option: &'static str, given: &Option<PathBuf>) -> Result<Option<PathBuf>, HostError> {
    let Some(path) = given else {
        return Ok(None);
    };
    let absolute = std::path::absolute(path).map_err(|source| HostError::Path {
        option,
        path: path.clone(),
        source,
    })?;
    Ok(Some(normalized(&absolute)))
}

/// The kernel adds a mark where the file was replaced meanwhile; hooks want the new one.
fn own_path() -> Result<PathBuf, HostError> {
    let path = std::env::current_exe().map_err(HostError::Program)?;
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) => Ok(PathBuf::from(replaced)),
        None => Ok(path),
    }
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_repeat_what_is_no_default_with_absolute_paths() {
        let host = Host::new(&Places {
            sysroot: Some("/".into()),
            state: Some("relative/../state".into()),
            config: None,
        })
        .unwrap();
        let state = std::env::current_dir().unwrap().join("state");
        assert_eq!(host.state, state);
        assert_eq!(
            host.program().unwrap().options,
            ["--state", &state.to_string_lossy()]
        );
    }
}
