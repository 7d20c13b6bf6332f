//! Copy queues: packets of SDMA. Sources: Linux, vega10_sdma_pkt_open.h; ROCr, sdma_registers.h.

use std::io;

use super::run::{Progress, QueueRun, RunState};
use super::words::{Poll, joined, ring_words, to_bytes};
use super::{Context, gpu_clock};

/// Operations, the low byte of the header.
const NOP: u8 = 0;
const COPY: u8 = 1;
const WRITE: u8 = 2;
const FENCE: u8 = 5;
const TRAP: u8 = 6;
const POLL_REGMEM: u8 = 8;
const ATOMIC: u8 = 10;
const CONST_FILL: u8 = 11;
const TIMESTAMP: u8 = 13;
const GCR: u8 = 17;
/// Sub-operations of COPY.
const LINEAR: u8 = 0;
const SUB_WINDOW: u8 = 4;
/// Bit of COPY's header: two destinations.
const BROADCAST: u32 = 1 << 27;
/// `SDMA_ATOMIC_ADD64`.
const ADD64: u32 = 47;
/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;
/// Longest packet that is looked at as a whole, in words.
const LONGEST: usize = 13;

/// A packet, as far as its operation says it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Packet {
    Nothing,
    Copy {
        from: u64,
        to: Vec<u64>,
        bytes: u64,
    },
    CopyWindow(Box<Window>),
    /// `count` words, which follow the header in the ring.
    Write {
        to: u64,
        count: u64,
    },
    Fill {
        to: u64,
        bytes: u64,
        pattern: [u8; 4],
    },
    Fence {
        to: u64,
        value: u32,
    },
    Trap {
        event: u32,
    },
    Poll(Poll),
    Add {
        to: u64,
        value: u64,
    },
    Timestamp {
        to: u64,
    },
}

/// One side of a copy of a window: address of its first element, bytes from row to row and from slice to slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    start: u64,
    pitch: u64,
    slice: u64,
}

/// A copy of rows and slices.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    from: Side,
    to: Side,
    row_bytes: u64,
    rows: u64,
    slices: u64,
}

fn address(words: &[u32; LONGEST], at: usize) -> u64 {
    joined(words[at], words[at + 1])
}

/// The packet that `words` begin with, and its length in words. None for an operation that is not known.
fn decode(words: &[u32; LONGEST]) -> Option<(Packet, u64)> {
    let header = words[0];
    let (operation, sub) = (header as u8, (header >> 8) as u8);
    Some(match (operation, sub) {
        (NOP, _) => (Packet::Nothing, 1 + u64::from(header >> 16 & 0x3fff)),
        (COPY, LINEAR) => {
            let bytes = u64::from(words[1] & 0x3fff_ffff) + 1;
            let mut to = vec![address(words, 5)];
            if header & BROADCAST != 0 {
                to.push(address(words, 7));
            }
            let length = 5 + 2 * to.len() as u64;
            (
                Packet::Copy {
                    from: address(words, 3),
                    to,
                    bytes,
                },
                length,
            )
        }
        (COPY, SUB_WINDOW) => (Packet::CopyWindow(Box::new(window(words))), 13),
        (WRITE, 0) => {
            let count = u64::from(words[3] & 0xf_ffff) + 1;
            (
                Packet::Write {
                    to: address(words, 1),
                    count,
                },
                4 + count,
            )
        }
        (FENCE, _) => (
            Packet::Fence {
                to: address(words, 1),
                value: words[3],
            },
            4,
        ),
        (TRAP, _) => (
            Packet::Trap {
                event: words[1] & 0x0fff_ffff,
            },
            2,
        ),
        // Without bit 31 a register is polled: the flush of the host's data path, done at once.
        (POLL_REGMEM, _) if header >> 31 == 0 || address(words, 1) == 0 => (Packet::Nothing, 6),
        (POLL_REGMEM, _) => {
            let function = header >> 28 & 7;
            (
                Packet::Poll(Poll {
                    from: address(words, 1),
                    function,
                    value: words[3],
                    mask: words[4],
                }),
                6,
            )
        }
        (ATOMIC, _) if header >> 25 == ADD64 => (
            Packet::Add {
                to: address(words, 1),
                value: address(words, 3),
            },
            8,
        ),
        (CONST_FILL, _) => {
            // The fill size is 2 for words; the count is of bytes, less one element.
            let element = 1 << (header >> 30);
            let bytes = u64::from(words[4] & 0x3fff_ffff) + element;
            let pattern = words[3].to_le_bytes();
            (
                Packet::Fill {
                    to: address(words, 1),
                    bytes,
                    pattern,
                },
                5,
            )
        }
        (TIMESTAMP, _) => (
            Packet::Timestamp {
                to: address(words, 1),
            },
            3,
        ),
        (GCR, _) => (Packet::Nothing, 5),
        _ => return None,
    })
}

fn window(words: &[u32; LONGEST]) -> Window {
    let element = 1u64 << (words[0] >> 29);
    let side = |at: usize| {
        let (x, y) = (
            u64::from(words[at + 2] & 0x3fff),
            u64::from(words[at + 2] >> 16 & 0x3fff),
        );
        let (z, pitch) = (
            u64::from(words[at + 3] & 0x7ff),
            u64::from(words[at + 3] >> 13) + 1,
        );
        let slice = u64::from(words[at + 4] & 0x0fff_ffff) + 1;
        let start = address(words, at) + (x + y * pitch + z * slice) * element;
        Side {
            start,
            pitch: pitch * element,
            slice: slice * element,
        }
    };
    Window {
        from: side(1),
        to: side(6),
        row_bytes: (u64::from(words[11] & 0x3fff) + 1) * element,
        rows: u64::from(words[11] >> 16 & 0x3fff) + 1,
        slices: u64::from(words[12] & 0x7ff) + 1,
    }
}

/// Takes the next packet of a queue.
pub fn step(context: &Context, queue: &QueueRun, state: &mut RunState) -> io::Result<Progress> {
    if queue.rung().is_none_or(|end| state.read >= end) {
        return Ok(Progress::Idle);
    }
    let mut words = [0; LONGEST];
    for (word, value) in
        words
            .iter_mut()
            .zip(ring_words(context, &queue.ring(), (state.read, LONGEST as u64))?)
    {
        *word = value;
    }
    let unknown = || io::Error::other(format!("SDMA packet {:#010x} is not known", words[0]));
    let (packet, length) = decode(&words).ok_or_else(unknown)?;
    if !execute(context, queue, state.read, &packet)? {
        return Ok(Progress::Idle);
    }
    state.read += length * 4;
    context.write(queue.read_pointer, &state.read.to_le_bytes())?;
    Ok(Progress::Done)
}

/// Does what a packet says. False where it has to wait.
fn execute(context: &Context, queue: &QueueRun, index: u64, packet: &Packet) -> io::Result<bool> {
    match packet {
        Packet::Nothing => {}
        Packet::Copy { from, to, bytes } => {
            for to in to {
                copy(context, queue, (*from, *to), *bytes)?;
            }
        }
        Packet::CopyWindow(window) => copy_window(context, queue, window)?,
        Packet::Write { to, count } => {
            let words = ring_words(context, &queue.ring(), (index + 16, *count))?;
            context.write(*to, &to_bytes(&words))?;
        }
        Packet::Fill { to, bytes, pattern } => fill(context, queue, (*to, *bytes), *pattern)?,
        Packet::Fence { to, value } => context.write(*to, &value.to_le_bytes())?,
        Packet::Trap { event } => context.raise(*event),
        Packet::Poll(poll) => return poll.is_over(context),
        Packet::Add { to, value } => {
            let sum = context.read_u64(*to)?.wrapping_add(*value);
            context.write(*to, &sum.to_le_bytes())?;
        }
        Packet::Timestamp { to } => context.write(*to, &gpu_clock().to_le_bytes())?,
    }
    Ok(true)
}

/// Copies bytes, in pieces so that a queue's end is noticed.
pub fn copy(context: &Context, queue: &QueueRun, (from, to): (u64, u64), bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(bytes as usize)];
    let mut done = 0;
    while done < bytes && !queue.has_ended() {
        let length = (bytes - done).min(CHUNK as u64) as usize;
        context.read_into(from + done, &mut buffer[..length])?;
        context.write(to + done, &buffer[..length])?;
        done += length as u64;
    }
    Ok(())
}

fn copy_window(context: &Context, queue: &QueueRun, window: &Window) -> io::Result<()> {
    for slice in 0..window.slices {
        for row in 0..window.rows {
            let at = |side: &Side| side.start + slice * side.slice + row * side.pitch;
            copy(
                context,
                queue,
                (at(&window.from), at(&window.to)),
                window.row_bytes,
            )?;
        }
    }
    Ok(())
}

fn fill(context: &Context, queue: &QueueRun, (to, bytes): (u64, u64), pattern: [u8; 4]) -> io::Result<()> {
    let block: Vec<u8> = pattern
        .into_iter()
        .cycle()
        .take(CHUNK.min(bytes as usize))
        .collect();
    let mut done = 0;
    while done < bytes && !queue.has_ended() {
        let length = (bytes - done).min(CHUNK as u64) as usize;
        context.write(to + done, &block[..length])?;
        done += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(start: &[u32]) -> [u32; LONGEST] {
        let mut words = [0; LONGEST];
        words[..start.len()].copy_from_slice(start);
        words
    }

    #[test]
    fn a_linear_copy_counts_from_one_less() {
        let packet = words(&[0x1, 0xfff, 0, 0x2000, 0x7f, 0x3000, 0x7e]);
        let copy = Packet::Copy {
            from: 0x7f_0000_2000,
            to: vec![0x7e_0000_3000],
            bytes: 4096,
        };
        assert_eq!(decode(&packet), Some((copy, 7)));
    }

    #[test]
    fn a_fill_of_words_counts_from_a_word_less() {
        let packet = words(&[2 << 30 | 11, 0x1000, 0, 0xdead_beef, 60]);
        let fill = Packet::Fill {
            to: 0x1000,
            bytes: 64,
            pattern: 0xdead_beef_u32.to_le_bytes(),
        };
        assert_eq!(decode(&packet), Some((fill, 5)));
    }

    #[test]
    fn a_write_is_as_long_as_its_data() {
        assert_eq!(
            decode(&words(&[2, 0x10, 0, 2])),
            Some((Packet::Write { to: 0x10, count: 3 }, 7))
        );
        assert_eq!(decode(&words(&[5 << 16])), Some((Packet::Nothing, 6)));
    }

    #[test]
    fn a_poll_of_memory_waits_and_a_flush_does_not() {
        let poll = words(&[1 << 31 | 3 << 28 | 8, 0x1000, 0, 7, 0xff, 0]);
        assert_eq!(
            decode(&poll),
            Some((
                Packet::Poll(Poll {
                    from: 0x1000,
                    function: 3,
                    value: 7,
                    mask: 0xff
                }),
                6
            ))
        );
        assert_eq!(decode(&words(&[8, 0, 0x8000_0000])), Some((Packet::Nothing, 6)));
    }

    #[test]
    fn a_window_is_rows_of_elements_at_its_offset() {
        let packet = words(&[
            2 << 29 | 4 << 8 | 1,
            0x1000,
            0,
            3 | 2 << 16,
            15 << 13,
            255,
            0x8000,
            0,
            0,
            7 << 13,
            127,
            9 | 4 << 16,
            1,
        ]);
        let Some((Packet::CopyWindow(window), 13)) = decode(&packet) else {
            panic!("{packet:?}")
        };
        assert_eq!(
            window.from,
            Side {
                start: 0x1000 + (3 + 2 * 16) * 4,
                pitch: 64,
                slice: 1024
            }
        );
        assert_eq!(
            window.to,
            Side {
                start: 0x8000,
                pitch: 32,
                slice: 512
            }
        );
        assert_eq!((window.row_bytes, window.rows, window.slices), (40, 5, 2));
    }

    #[test]
    fn an_unknown_operation_is_not_guessed() {
        assert_eq!(decode(&words(&[0x33])), None);
    }
}
