//! How a person names one GPU: in requests and in the configuration. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Gpu, PciAddress};

/// How a person names one GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuSelector {
    /// Index in the inventory.
    Index(u32),
    /// UUID.
    Uuid(String),
    /// PCI address (all partitions of the card).
    Pci(String),
}

impl GpuSelector {
    /// What [`Self::parse`] takes.
    pub const ACCEPTED: &str =
        "an index such as 0, a UUID such as GPU-6f7bf9e13e8c2a01, a PCI address such as 0000:47:00.0";

    /// Reads an index, a UUID or a PCI address.
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|b| b.is_ascii_digit())
            && let Ok(index) = text.parse()
        {
            return Some(Self::Index(index));
        }
        let is_uuid = text.strip_prefix("GPU-").is_some_and(|rest| {
            rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && rest.bytes().any(|b| b.is_ascii_alphanumeric())
        });
        if is_uuid {
            return Some(Self::Uuid(text.to_owned()));
        }
        // lspci leaves out the domain where it is 0.
        let address = text
            .parse()
            .or_else(|_| format!("0000:{text}").parse::<PciAddress>());
        address.ok().map(|address| Self::Pci(address.to_string()))
    }

    /// Whether it names this GPU.
    pub fn names(&self, gpu: &Gpu) -> bool {
        match self {
            Self::Index(index) => gpu.index == *index,
            Self::Uuid(uuid) => gpu.uuid.eq_ignore_ascii_case(uuid),
            Self::Pci(address) => address
                .parse::<PciAddress>()
                .is_ok_and(|address| gpu.pci == address),
        }
    }
}

/// As it was written.
impl fmt::Display for GpuSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Uuid(text) | Self::Pci(text) => f.write_str(text),
        }
    }
}
