//! HIP's and ROCr's own kernels: fills and copies that the runtimes dispatch for hipMemset and for copies within a GPU and
//! between GPUs. They are known by their names, ROCr's by
//! their arguments, and done on the real bytes; no other kernel is executed.
//!
//! A dispatch names its kernel by the address of a descriptor in a loaded code object. The object's ELF header, symbols
//! and names are in its first segment, so they lie in memory a little below the descriptor. Arguments are those of the
//! kernels' source, which libamdhip64 carries as text; the two layouts are HIP 5.7's and that of HIP 6.4 and later.

use std::io;

use super::Context;
use super::run::QueueRun;
use super::sdma::copy;
use crate::device::args::Args;

const PAGE: u64 = 4096;
/// How far below a descriptor its object's header is looked for.
const FARTHEST: u64 = 4 << 20;
/// Most symbols that are looked at.
const MOST_SYMBOLS: u64 = 4096;
/// ELF-64: offsets in the header, in a program header and in a symbol, and tags of the dynamic section.
const PROGRAM_HEADERS: usize = 32;
const PROGRAM_HEADER_COUNT: usize = 56;
const PT_DYNAMIC: u32 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const SYMBOL: u64 = 24;
/// Bytes of arguments that are read.
const ARGUMENTS: usize = 88;
/// The start of the descriptor that ROCr makes for its own kernels, which are in no code object: no memory and no
/// arguments are declared, and the code is 256 bytes on.
const PLAIN_KERNEL: [u8; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
];
/// Sizes of an element in the newer layout.
const ELEMENTS: [u32; 5] = [1, 2, 4, 8, 16];

/// What a known kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Fill {
        to: u64,
        bytes: u64,
        pattern: u64,
        pattern_bytes: u64,
    },
    FillWord {
        to: u64,
        bytes: u64,
        word: u32,
    },
    Copy {
        from: u64,
        to: u64,
        bytes: u64,
    },
}

/// Does what the kernel with the descriptor at `kernel` does, where it is one of HIP's own.
pub fn run(context: &Context, queue: &QueueRun, (kernel, arguments): (u64, u64)) -> io::Result<()> {
    let name = name_of(context, kernel)?;
    let is_plain = name.is_none()
        && context
            .read::<24>(kernel)
            .is_ok_and(|start| start == PLAIN_KERNEL);
    let mut args = Args(vec![0; ARGUMENTS]);
    if arguments == 0 || context.read_into(arguments, &mut args.0).is_err() {
        return Ok(());
    }
    let known = match name {
        Some(name) => work(&name, &args),
        None if is_plain => plain_work(&args),
        None => None,
    };
    match known {
        Some(Work::Copy { from, to, bytes }) => copy(context, queue, (from, to), bytes),
        Some(Work::Fill {
            to,
            bytes,
            pattern,
            pattern_bytes,
        }) => {
            let mut unit = vec![0; pattern_bytes.min(PAGE) as usize];
            context.read_into(pattern, &mut unit)?;
            fill(context, queue, (to, bytes), &unit)
        }
        Some(Work::FillWord { to, bytes, word }) => fill(context, queue, (to, bytes), &word.to_le_bytes()),
        None => Ok(()),
    }
}

fn work(name: &str, args: &Args) -> Option<Work> {
    let is_newer = |element: usize| ELEMENTS.contains(&args.u32(element));
    match name.strip_suffix(".kd")? {
        "__amd_rocclr_fillBufferAligned" if is_newer(20) => Some(Work::Fill {
            to: args.u64(0),
            bytes: args.u64(24).checked_sub(args.u64(0))?,
            pattern: args.u64(8),
            pattern_bytes: u64::from(args.u32(16)) * u64::from(args.u32(20)),
        }),
        "__amd_rocclr_fillBufferAligned" => {
            // One of four pointers is given: to bytes, or to elements of 2, 4 or 8.
            let (index, to) = (0..4)
                .map(|index| (index, args.u64(index * 8)))
                .find(|(_, to)| *to != 0)?;
            let pattern_bytes = u64::from(args.u32(40)) << index;
            Some(Work::Fill {
                to: to + (args.u64(48) << index),
                bytes: args.u64(56).checked_mul(pattern_bytes)?,
                pattern: args.u64(32),
                pattern_bytes,
            })
        }
        "__amd_rocclr_copyBuffer" if is_newer(28) => Some(Work::Copy {
            from: args.u64(0),
            to: args.u64(8),
            bytes: args.u64(16),
        }),
        "__amd_rocclr_copyBuffer" => Some(Work::Copy {
            from: args.u64(0).checked_add(args.u64(16))?,
            to: args.u64(8).checked_add(args.u64(24))?,
            // Words, and one more item for the bytes that remain.
            bytes: args.u64(32).checked_sub(1)?.checked_mul(4)? + u64::from(args.u32(40)),
        }),
        "__amd_rocclr_copyBufferAligned" => {
            let unit = u64::from(args.u32(40));
            Some(Work::Copy {
                from: args.u64(0).checked_add(args.u64(16).checked_mul(unit)?)?,
                to: args.u64(8).checked_add(args.u64(24).checked_mul(unit)?)?,
                bytes: args.u64(32).checked_mul(unit)?,
            })
        }
        _ => None,
    }
}

/// ROCr's kernels for copies and fills without SDMA: their arguments are the starts of phases, ascending, and the ends.
/// Source: ROCr, `KernelArgs` in amd_blit_kernel.h.
fn plain_work(args: &Args) -> Option<Work> {
    let starts = |from: usize, step: usize, count: usize| -> Vec<u64> {
        (0..count)
            .map(|index| args.u64((from + index * step) * 8))
            .collect()
    };
    let ascends = |starts: &[u64]| starts.is_sorted() && starts.first().is_some_and(|first| *first != 0);
    let span = |starts: &[u64]| {
        starts
            .last()
            .zip(starts.first())
            .map_or(0, |(end, start)| end - start)
    };
    for count in [5, 3] {
        let (from, to) = (starts(0, 2, count), starts(1, 2, count));
        if ascends(&from) && ascends(&to) && span(&from) == span(&to) {
            return Some(Work::Copy {
                from: from[0],
                to: to[0],
                bytes: span(&from),
            });
        }
    }
    let to = starts(0, 1, 3);
    // The value to fill with, and the number of work-items after it, come fourth.
    ascends(&to).then(|| Work::FillWord {
        to: to[0],
        bytes: span(&to),
        word: args.u32(24),
    })
}

fn fill(context: &Context, queue: &QueueRun, (to, bytes): (u64, u64), unit: &[u8]) -> io::Result<()> {
    let whole = (1usize << 20) / unit.len().max(1) * unit.len();
    let block: Vec<u8> = unit
        .iter()
        .copied()
        .cycle()
        .take(whole.min(bytes as usize))
        .collect();
    let mut done = 0;
    while done < bytes && !block.is_empty() && !queue.has_ended() {
        let length = (bytes - done).min(block.len() as u64) as usize;
        context.write(to + done, &block[..length])?;
        done += length as u64;
    }
    Ok(())
}

/// The name of the symbol at `kernel`; None where no loaded object has one there.
fn name_of(context: &Context, kernel: u64) -> io::Result<Option<String>> {
    let Some(base) = header_below(context, kernel) else {
        return Ok(None);
    };
    let header = Args(context.read::<64>(base)?.to_vec());
    let (table, count) = (
        base + header.u64(PROGRAM_HEADERS),
        header.u32(PROGRAM_HEADER_COUNT) & 0xffff,
    );
    for index in 0..u64::from(count) {
        let program = Args(context.read::<56>(table + index * 56)?.to_vec());
        if program.u32(0) == PT_DYNAMIC {
            let tables = dynamic(context, base + program.u64(16), program.u64(40))?;
            return symbol(context, base, (tables, kernel - base));
        }
    }
    Ok(None)
}

fn header_below(context: &Context, kernel: u64) -> Option<u64> {
    let mut page = kernel / PAGE * PAGE;
    let end = page.saturating_sub(FARTHEST);
    while page > end {
        if context.read::<4>(page).ok()? == *b"\x7fELF" {
            return Some(page);
        }
        page -= PAGE;
    }
    None
}

/// Addresses in the object of the hash table, the names and the symbols.
fn dynamic(context: &Context, address: u64, bytes: u64) -> io::Result<[u64; 3]> {
    let mut tables = [0; 3];
    for at in (0..bytes.min(PAGE)).step_by(16) {
        let entry = Args(context.read::<16>(address + at)?.to_vec());
        match entry.u64(0) {
            DT_HASH => tables[0] = entry.u64(8),
            DT_STRTAB => tables[1] = entry.u64(8),
            DT_SYMTAB => tables[2] = entry.u64(8),
            _ => {}
        }
    }
    Ok(tables)
}

fn symbol(context: &Context, base: u64, (tables, value): ([u64; 3], u64)) -> io::Result<Option<String>> {
    let [hash, names, symbols] = tables;
    if hash == 0 || names == 0 || symbols == 0 {
        return Ok(None);
    }
    let count = Args(context.read::<8>(base + hash)?.to_vec()).u32(4);
    for index in 0..u64::from(count).min(MOST_SYMBOLS) {
        let entry = Args(context.read::<24>(base + symbols + index * SYMBOL)?.to_vec());
        if entry.u64(8) == value {
            let name = context.read::<64>(base + names + u64::from(entry.u32(0)))?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            return Ok(Some(String::from_utf8_lossy(&name[..end]).into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(longs: &[u64]) -> Args {
        let mut bytes = longs
            .iter()
            .flat_map(|long| long.to_le_bytes())
            .collect::<Vec<u8>>();
        bytes.resize(ARGUMENTS, 0);
        Args(bytes)
    }

    #[test]
    fn a_fill_is_read_in_both_layouts() {
        let newer = args(&[0x1000, 0x9000, 2 | 4 << 32, 0x1800]);
        let fill = |to, bytes| Work::Fill {
            to,
            bytes,
            pattern: 0x9000,
            pattern_bytes: 8,
        };
        assert_eq!(
            work("__amd_rocclr_fillBufferAligned.kd", &newer),
            Some(fill(0x1000, 0x800))
        );
        let older = args(&[0, 0, 0x7f00_0000_1000, 0, 0x9000, 2, 4, 3]);
        assert_eq!(
            work("__amd_rocclr_fillBufferAligned.kd", &older),
            Some(fill(0x7f00_0000_1010, 24))
        );
    }

    #[test]
    fn rocrs_own_kernels_are_known_by_their_phases() {
        let copy = args(&[
            0x1000, 0x9000, 0x1010, 0x9010, 0x1100, 0x9100, 0x1100, 0x9100, 0x1103, 0x9103, 64,
        ]);
        let whole = Work::Copy {
            from: 0x1000,
            to: 0x9000,
            bytes: 0x103,
        };
        assert_eq!(plain_work(&copy), Some(whole));
        let misaligned = args(&[0x1000, 0x9001, 0x1100, 0x9101, 0x1103, 0x9104, 64]);
        let bytes = Work::Copy {
            from: 0x1000,
            to: 0x9001,
            bytes: 0x103,
        };
        assert_eq!(plain_work(&misaligned), Some(bytes));
        let filled = args(&[0x9000, 0x9100, 0x9104, 7 | 64 << 32]);
        let words = Work::FillWord {
            to: 0x9000,
            bytes: 0x104,
            word: 7,
        };
        assert_eq!(plain_work(&filled), Some(words));
    }

    #[test]
    fn a_copy_is_read_and_another_kernel_is_not() {
        let newer = args(&[0x1000, 0x2000, 100, 4 | 16 << 32, 0x2060]);
        let copy = Work::Copy {
            from: 0x1000,
            to: 0x2000,
            bytes: 100,
        };
        assert_eq!(work("__amd_rocclr_copyBuffer.kd", &newer), Some(copy));
        let older = args(&[0x1000, 0x2000, 4, 8, 3, 2]);
        let copy = Work::Copy {
            from: 0x1004,
            to: 0x2008,
            bytes: 10,
        };
        assert_eq!(work("__amd_rocclr_copyBuffer.kd", &older), Some(copy));
        let aligned = args(&[0x1000, 0x2000, 1, 2, 10, 16]);
        let copy = Work::Copy {
            from: 0x1010,
            to: 0x2020,
            bytes: 160,
        };
        assert_eq!(work("__amd_rocclr_copyBufferAligned.kd", &aligned), Some(copy));
        assert_eq!(work("my_kernel.kd", &newer), None);
    }
}
