//! Figures of boards by libamd_smi, AMD's own library, opened at run time.
//!
//! ```text
//! open → the boards by their PCI addresses → board(address): busy, power, temperature
//! ```
//!
//! Layouts are those of the crate amdsmi-sys. Its functions are not used: they give their status as a Rust enum, which a
//! library that knows one more status would break, and temperature is not among them.

mod sys;

use sdg::inventory::PciAddress;

use self::sys::{Handle, Library};
use crate::metrics::Board;

/// What libamd_smi puts where a board does not say a figure. Source: amdsmi.h, `amdsmi_power_info_t`.
const NOT_SAID: u32 = u32::MAX;
/// Sensors by which a GPU's temperature is known, the best first: at the edge, at the hottest place. Source: amdsmi.h,
/// `amdsmi_temperature_type_t`.
const SENSORS: [u32; 2] = [0, 1];

/// Why the library cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AmdSmiError {
    /// It is not there, or another one.
    #[error("libamd_smi: {0}")]
    Library(#[from] libloading::Error),
    /// It refused.
    #[error("libamd_smi: {call} gave status {status}")]
    Status {
        /// What was called.
        call: &'static str,
        /// `amdsmi_status_t`.
        status: u32,
    },
}

/// The library, ready.
#[derive(Debug)]
pub struct AmdSmi {
    library: Library,
    /// A processor of each board, by the name of its socket.
    boards: Vec<(String, Handle)>,
}

impl AmdSmi {
    /// Opens the library and finds the boards.
    pub fn open() -> Result<Self, AmdSmiError> {
        let library = Library::open()?;
        let mut boards = Vec::new();
        for socket in library.sockets()? {
            // Partitions of a card are processors of one socket; what the board says is the same for all.
            let first = library.processors(socket)?.first().copied();
            if let Some(processor) = first {
                boards.push((library.name(socket)?, processor));
            }
        }
        Ok(Self { library, boards })
    }

    /// What the board at an address says; nothing where the library does not know it.
    pub fn board(&self, address: PciAddress) -> Board {
        let Some((_, handle)) = self.boards.iter().find(|(name, _)| is_at(name, address)) else {
            return Board::default();
        };
        let power = self.library.power(*handle);
        Board {
            busy: self
                .library
                .busy_percent(*handle)
                .and_then(said)
                .map(|busy| busy / 100.0),
            power: power.and_then(|figures| figures.into_iter().find_map(said)),
            temperature: SENSORS
                .into_iter()
                .find_map(|sensor| self.library.temperature(*handle, sensor))
                .map(|degrees| degrees as f64),
            memory_used: None,
        }
    }
}

fn said(figure: u32) -> Option<f64> {
    (figure != NOT_SAID).then(|| f64::from(figure))
}

/// Whether a socket is the card at an address: a socket's name is the address, without the function.
fn is_at(name: &str, address: PciAddress) -> bool {
    let address = address.to_string();
    address
        .rsplit_once('.')
        .is_some_and(|(card, _)| card == name || address == name)
}
