//! A stand-in for the shim: the smallest ELF library of this machine that is taken for it. It is not loaded by anything.

/// The library's bytes, with one function of this name.
pub fn library(symbol: &str) -> Vec<u8> {
    const PROGRAM_HEADERS: u64 = 64;
    const DYNAMIC: u64 = PROGRAM_HEADERS + 2 * 56;
    const SYMBOLS: u64 = DYNAMIC + 16;
    const NAMES: u64 = SYMBOLS + 2 * 24;
    let names = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let sections = (NAMES + names.len() as u64).next_multiple_of(8);
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    // ET_DYN, EM_X86_64, EV_CURRENT; no entry; where the headers are; their sizes and numbers, names in section 2.
    halves(&mut bytes, &[3, 62, 1, 0]);
    words(&mut bytes, &[0, PROGRAM_HEADERS, sections]);
    halves(&mut bytes, &[0, 0, 64, 56, 2, 64, 3, 2]);
    // PT_LOAD of the whole, PT_DYNAMIC: type and flags, offset, addresses, sizes, alignment.
    let end = sections + 3 * 64;
    words(&mut bytes, &[1 | 5 << 32, 0, 0, 0, end, end, 4096]);
    words(&mut bytes, &[2 | 6 << 32, DYNAMIC, DYNAMIC, DYNAMIC, 16, 16, 8]);
    // DT_NULL; the null symbol; a global function of section 1: name and kind, value, size.
    words(&mut bytes, &[0, 0]);
    words(&mut bytes, &[0, 0, 0, 1 | 0x12 << 32 | 1 << 48, 0, 0]);
    bytes.extend(&names);
    bytes.resize(sections as usize, 0);
    // No section; SHT_DYNSYM with the names in section 2; SHT_STRTAB: name and type, flags, address, offset, size, link and
    // info, alignment, size of an entry.
    words(&mut bytes, &[0; 8]);
    words(&mut bytes, &[11 << 32, 0, 0, SYMBOLS, 48, 2 | 1 << 32, 8, 24]);
    words(&mut bytes, &[3 << 32, 0, 0, NAMES, names.len() as u64, 0, 1, 0]);
    bytes
}

fn words(bytes: &mut Vec<u8>, words: &[u64]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

fn halves(bytes: &mut Vec<u8>, halves: &[u16]) {
    bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
}
