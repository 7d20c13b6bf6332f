//! The one line on standard error that says why GPU memory is refused.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::sys;

/// Why nothing can be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file concerned.
    pub path: &'static CStr,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be opened; the kernel's error number.
    Open(isize),
    /// It cannot be mapped; the kernel's error number.
    Map(isize),
    /// It cannot be locked; the kernel's error number.
    Lock(isize),
    /// It is shorter than the layout, in bytes.
    Short(u64),
    /// It does not begin as such a page does.
    Magic,
    /// It has another layout version.
    Version(u32),
    /// Its head contradicts itself.
    Head,
    /// Its file system forgets a lock when the descriptor is closed.
    ForgetsLocks,
    /// Its file system has no room for the process's part of it.
    NoRoom,
    /// Every slot is taken by a live process.
    Full,
    /// The host has been changing it for too long.
    Changing,
}

static SAID: AtomicBool = AtomicBool::new(false);

/// Says why GPU memory is refused, once in a process.
pub fn refuse(refusal: Refusal) {
    if SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut line = Line::new();
    line.put(b"sdg: GPU memory and queues are refused: ");
    line.put(refusal.path.to_bytes());
    match refusal.reason {
        Reason::Open(error) => line.put(b" cannot be opened: error ").number(error as u64),
        Reason::Map(error) => line.put(b" cannot be mapped: error ").number(error as u64),
        Reason::Lock(error) => line.put(b" cannot be locked: error ").number(error as u64),
        Reason::Short(size) => line.put(b" has only ").number(size).put(b" bytes"),
        Reason::Magic => line.put(b" is not a page of sdg"),
        Reason::Version(version) => {
            line.put(b" has layout version ")
                .number(version.into())
                .put(b", this libsdg.so knows ");
            line.number(sdg_abi::limits::VERSION.into())
        }
        Reason::Head => line.put(b" has a head that contradicts itself"),
        Reason::ForgetsLocks => {
            line.put(b" is on a file system that does not keep locks with mappings (use tmpfs)")
        }
        Reason::NoRoom => line.put(b" has no room left on its file system"),
        Reason::Full => line.put(b": 512 processes of this slice hold GPU memory already"),
        Reason::Changing => line.put(b" has been half-written for a second"),
    };
    line.put(b"\n");
    sys::write_stderr(line.text());
}

const _: () =
    assert!(sdg_abi::usage::MAX_SLOTS == 512 && sdg_abi::limits::VERSION == sdg_abi::usage::VERSION);

/// A line put together without an allocator and without `core::fmt`, which can panic.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; 256],
            length: 0,
        }
    }

    fn put(&mut self, text: &[u8]) -> &mut Self {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(text) {
            *to = *from;
            self.length += 1;
        }
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        let mut divisor = 10_000_000_000_000_000_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            self.put(&[b'0' + (number / divisor % 10) as u8]);
            divisor /= 10;
        }
        self
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (10, "10"),
            (1020, "1020"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(Line::new().number(number).text(), text.as_bytes());
        }
    }

    #[test]
    fn a_line_too_long_is_cut() {
        assert_eq!(Line::new().put(&[b'x'; 1000]).text().len(), 256);
    }
}
