//! `/etc/sdg/config.toml`: what an administrator decides.
//!
//! ```text
//! file → Config (every key has a default, so that no file is a good file)
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::compute::shape::Shape;
use crate::inventory::GpuSelector;
use crate::line_number::line_number;
use crate::one_line::one_line;
use crate::request::quantity::Quantity;
use crate::request::{Enforcement, LEAST_MEMORY, likely_memory};

/// Where the file is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sdg/config.toml";

/// Where metrics are served by default: for this machine alone.
pub const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// The administrator's choices.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How compute units are cut: `auto`, `rows` or `engines`.
    #[serde(deserialize_with = "shape")]
    pub shape: Shape,
    /// Memory of each GPU that no slice gets (the driver's page tables and firmware live there), in bytes; a
    /// Kubernetes quantity in the file.
    #[serde(deserialize_with = "quantity")]
    pub reserved_memory: u64,
    /// GPUs that no new slice gets, by index, UUID or PCI address.
    #[serde(deserialize_with = "gpus")]
    pub exclude_gpus: Vec<GpuSelector>,
    /// Seconds that a slice whose engine has died unclaimed is kept, for a runtime that still runs.
    pub claim_grace: u64,
    /// Seconds after which a slice that no container claimed is reaped though its engine lives.
    pub claim_timeout: u64,
    /// Seconds to wait for the ledger's lock.
    pub lock_timeout: u64,
    /// The OCI runtime that `sdg-runtime` hands over to: a name to be looked for in PATH, or an absolute path; absent:
    /// runc, then crun.
    pub runtime: Option<PathBuf>,
    /// Where CDI files are written; absent: `/etc/cdi` below the system root (every engine reads `/etc/cdi`).
    pub cdi_dir: Option<PathBuf>,
    /// How slices are enforced at least: `cooperative` or `guarded`. A slice of whole GPUs has nothing to be guarded.
    pub enforcement: Enforcement,
    /// What the agent does with a process that has more than its slice: `off`, `log` or `kill`.
    pub watchdog: Watchdog,
    /// Milliseconds between two looks of the agent at the kernel's figures.
    pub watchdog_interval_ms: u64,
    /// Milliseconds that a slice may be over its limit before the agent kills.
    pub watchdog_grace_ms: u64,
    /// Where a container runtime listens for plugins of its Node Resource Interface; absent: `sdg-agent run` is none.
    pub nri_socket: Option<PathBuf>,
    /// Whether the agent places slices for ordinary users, whose engines are rootless.
    pub broker: bool,
    /// Whose members may ask for them: a group's name or number.
    pub broker_group: String,
    /// How many slices one of them may hold.
    pub broker_slices: usize,
    /// How much guaranteed memory of GPUs one of them may hold, in bytes; absent: as much as there is.
    #[serde(deserialize_with = "some_quantity")]
    pub broker_memory: Option<u64>,
    /// Whether a container starts though the shim does not get into it (a static program, musl, another architecture)
    /// and no other layer limits its memory.
    pub allow_uncovered_images: bool,
    /// Where the agent serves metrics; none: nowhere (`"off"` in the file).
    #[serde(deserialize_with = "address")]
    pub metrics: Option<SocketAddr>,
    /// Whether the agent asks libamd_smi for the figures of boards, and sysfs for those that it does not say.
    pub amd_smi: bool,
    /// The library that containers are given; absent: `../lib/sdg/libsdg.so` from the program's directory.
    pub shim: Option<PathBuf>,
}

/// What happens to a process that has more than its slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watchdog {
    /// Nobody looks.
    Off,
    /// It is told in the log and counted.
    Log,
    /// It is killed as well, after the time of grace.
    #[default]
    Kill,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            reserved_memory: 512 << 20,
            exclude_gpus: Vec::new(),
            claim_grace: 30,
            claim_timeout: 600,
            lock_timeout: 25,
            runtime: None,
            cdi_dir: None,
            enforcement: Enforcement::default(),
            watchdog: Watchdog::default(),
            watchdog_interval_ms: 250,
            watchdog_grace_ms: 1000,
            metrics: Some(DEFAULT_METRICS),
            nri_socket: None,
            broker: false,
            broker_group: "render".to_owned(),
            broker_slices: 16,
            broker_memory: None,
            allow_uncovered_images: false,
            amd_smi: false,
            shim: None,
        }
    }
}

/// Why a config file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("config {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says something that is not understood.
    #[error("config {}:{line}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what would be accepted.
        message: String,
    },
}

impl Config {
    /// Reads a file. `required`: its absence is an error (somebody named it), else the defaults hold.
    pub fn read(path: &Path, required: bool) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(&text).map_err(|(line, message)| ConfigError::Content {
            path: path.to_owned(),
            line,
            message,
        })
    }

    /// Line and message of the first error.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let config: Self = toml::from_str(text)
            .map_err(|error| (line_number(text, error.span()), one_line(error.message())))?;
        if config.watchdog_interval_ms == 0 {
            return Err((1, "watchdog_interval_ms = 0: at least 1 is needed".to_owned()));
        }
        match &config.shim {
            Some(shim) if !shim.is_absolute() => {
                Err((1, format!("shim = {shim:?}: an absolute path is needed")))
            }
            _ => Ok(config),
        }
    }

    /// How long to wait for the ledger's lock.
    pub fn lock_timeout(&self) -> Duration {
        Duration::from_secs(self.lock_timeout)
    }
}

fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = Quantity::parse(&text)
        .ok()
        .and_then(|quantity| quantity.rounded_up());
    let refused = |reason: String| serde::de::Error::custom(format!("{text:?} is {reason}"));
    match bytes {
        None => Err(refused(
            "no amount of memory (one looks like \"512Mi\")".to_owned(),
        )),
        Some(bytes @ 1..LEAST_MEMORY) => Err(refused(match likely_memory(&text) {
            Some(meant) => format!("{bytes} bytes (did you mean {meant:?}?)"),
            None => format!("{bytes} bytes (an amount looks like \"512Mi\")"),
        })),
        Some(bytes) => Ok(bytes),
    }
}

fn some_quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    quantity(deserializer).map(Some)
}

/// An index may be a number or a text, as the key `gpu` of a request is.
#[derive(Deserialize)]
#[serde(untagged)]
enum GpuName {
    Number(u32),
    Text(String),
}

fn gpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<GpuSelector>, D::Error> {
    let names = Vec::<GpuName>::deserialize(deserializer)?;
    let selector = |name| match name {
        GpuName::Number(index) => Ok(GpuSelector::Index(index)),
        GpuName::Text(text) => GpuSelector::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} names no GPU (accepted: {})",
                GpuSelector::ACCEPTED
            ))
        }),
    };
    names.into_iter().map(selector).collect()
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address with a port (one looks like \"127.0.0.1:9464\"; \"off\" serves nothing)"
        ))
    })
}

fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_a_good_file_unless_somebody_named_it() {
        let missing = Path::new("/nonexistent/config.toml");
        assert_eq!(Config::read(missing, false).unwrap(), Config::default());
        let error = Config::read(missing, true).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/config.toml"), "{error}");
    }

    #[test]
    fn keys_are_read() {
        let text =
            "reserved_memory = \"1Gi\"\nclaim_grace = 5\nshape = \"rows\"\nshim = \"/opt/libsdg.so\"\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.reserved_memory, 1 << 30);
        assert_eq!(config.claim_grace, 5);
        assert_eq!(config.shape, "rows".parse().unwrap());
        assert_eq!(config.shim.as_deref(), Some(Path::new("/opt/libsdg.so")));
    }

    #[test]
    fn gpus_that_are_left_out_are_named_as_in_a_request() {
        let excluded = |text: &str| Config::parse(text).map(|config| config.exclude_gpus);
        assert_eq!(
            excluded("exclude_gpus = [0, \"1\", \"GPU-6f7b\", \"c4:00.0\"]").unwrap(),
            [
                GpuSelector::Index(0),
                GpuSelector::Index(1),
                GpuSelector::Uuid("GPU-6f7b".to_owned()),
                GpuSelector::Pci("0000:c4:00.0".to_owned()),
            ]
        );
        let (_, message) = excluded("exclude_gpus = [\"first\"]").unwrap_err();
        assert!(
            message.starts_with("\"first\" names no GPU (accepted: an index such as 0, "),
            "{message}"
        );
        assert!(excluded("exclude_gpus = [-1]").is_err());
        assert!(excluded("exclude_gpus = \"0\"").is_err());
    }

    #[test]
    fn metrics_have_an_address_or_are_off() {
        let metrics = |text: &str| Config::parse(text).map(|config| config.metrics);
        assert_eq!(metrics("").unwrap(), Some(DEFAULT_METRICS));
        assert_eq!(metrics("metrics = \"off\"").unwrap(), None);
        let everywhere = metrics("metrics = \"[::]:9000\"").unwrap().unwrap();
        assert_eq!(everywhere.port(), 9000);
        let (_, message) = metrics("metrics = \"9464\"").unwrap_err();
        assert!(message.contains("127.0.0.1:9464"), "{message}");
    }

    #[test]
    fn errors_name_the_line() {
        let (line, message) = Config::parse("claim_grace = 5\nreserved = 1\n").unwrap_err();
        assert_eq!(line, 2);
        assert!(
            message.contains("reserved") && message.contains("reserved_memory"),
            "{message}"
        );
        let (line, message) = Config::parse("\n\nreserved_memory = \"4X\"\n").unwrap_err();
        assert_eq!(line, 3);
        assert!(message.contains("4X"), "{message}");
        let (_, message) = Config::parse("broker_memory = \"64\"").unwrap_err();
        assert_eq!(message, "\"64\" is 64 bytes (did you mean \"64Gi\"?)");
        assert_eq!(
            Config::parse("reserved_memory = \"0\"").unwrap().reserved_memory,
            0
        );
        assert!(Config::parse("shim = \"libsdg.so\"").is_err(), "relative");
    }
}
