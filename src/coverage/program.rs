//! What a file is to execve(2): a script with an interpreter, or an ELF program with or without a loader.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::elf::{
    ELFCLASS64, ELFMAG, EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, FileHeader64,
    Machine, PT_INTERP,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache};

use crate::edits::PRELOAD_TARGET;

/// Bytes of a file that the kernel looks at. Source: linux/binfmts.h, `BINPRM_BUF_SIZE`.
const FIRST_BYTES: u64 = 256;
/// Most bytes of program headers that the kernel takes. Source: Linux, fs/binfmt_elf.c, `load_elf_phdrs`.
const MOST_HEADERS: usize = 65536;
/// Longest name of a loader that the kernel takes. Source: Linux, fs/binfmt_elf.c, `load_elf_binary`, and `PATH_MAX`.
const LONGEST_LOADER_NAME: u64 = 4096;
/// Largest loader that is searched; glibc's has 200 KiB to 1 MiB.
const LARGEST_LOADER: u64 = 32 << 20;
/// Bytes of it that are looked at in one go.
const PIECE: usize = 64 << 10;
/// Where the class is in the identification. Source: elf.h, `EI_CLASS`.
const CLASS_AT: usize = 4;
/// Architectures by their names in images.
const ARCHITECTURES: [(Machine, &str); 7] = [
    (EM_X86_64, "x86-64"),
    (EM_AARCH64, "aarch64"),
    (EM_386, "i386"),
    (EM_ARM, "arm"),
    (EM_PPC64, "ppc64"),
    (EM_RISCV, "riscv"),
    (EM_S390, "s390x"),
];
/// The shim's, which is this program's.
const OWN_MACHINE: Machine = if cfg!(target_arch = "aarch64") {
    EM_AARCH64
} else {
    EM_X86_64
};
/// Its name.
pub const OWN_ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    "x86-64"
};

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Program {
    /// It begins with `#!`.
    Script {
        /// What interprets it.
        interpreter: PathBuf,
    },
    /// Of this machine's architecture.
    Native {
        /// Its PT_INTERP; none: static.
        loader: Option<PathBuf>,
    },
    /// Of another architecture.
    Foreign {
        /// Which.
        architecture: String,
    },
}

/// Reads a file's beginning, or says why it is nothing that can be started.
pub fn read(mut file: File) -> Result<Program, String> {
    let mut first = Vec::new();
    let count = file.by_ref().take(FIRST_BYTES).read_to_end(&mut first);
    count
        .and_then(|_| file.rewind())
        .map_err(|error| error.to_string())?;
    if let Some(line) = first.strip_prefix(b"#!") {
        return script(line).ok_or_else(|| "a script that names no interpreter".to_owned());
    }
    if !is_elf(&first) {
        return Err("neither an ELF program nor a script".to_owned());
    }
    elf(&first, file)
}

/// The first word: the rest of the line is an argument.
fn script(line: &[u8]) -> Option<Program> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0));
    let interpreter = words.find(|word| !word.is_empty())?;
    Some(Program::Script {
        interpreter: Path::new(std::ffi::OsStr::from_bytes(interpreter)).to_owned(),
    })
}

/// Whether a file's first bytes are an ELF file's.
pub fn is_elf(first: &[u8]) -> bool {
    first.starts_with(&ELFMAG)
}

/// The architecture of an ELF file with these first bytes, unless it is this machine's.
pub fn foreign(first: &[u8]) -> Result<Option<String>, String> {
    // At the same place in both classes: after the identification, of 16 bytes, and the type.
    let machine = first
        .get(18..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(|bytes| Machine(u16::from_le_bytes(bytes)));
    let is_64 = first.get(CLASS_AT) == Some(&ELFCLASS64.0);
    match machine {
        Some(OWN_MACHINE) if is_64 => Ok(None),
        Some(machine) => Ok(Some(architecture(machine, is_64))),
        None => Err("an ELF file that is cut off".to_owned()),
    }
}

fn elf(first: &[u8], file: File) -> Result<Program, String> {
    if let Some(architecture) = foreign(first)? {
        return Ok(Program::Foreign { architecture });
    }
    let cache = ReadCache::new(file);
    let damaged = |error: object::read::Error| format!("a damaged ELF file: {error}");
    let header = FileHeader64::<Endianness>::parse(&cache).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    // The file says how much is read of it: no more than the kernel would, or a sparse one would fill the memory.
    if usize::from(header.e_phnum.get(endian)) * usize::from(header.e_phentsize.get(endian)) > MOST_HEADERS {
        return Err("an ELF file with more program headers than the kernel takes".to_owned());
    }
    for segment in header.program_headers(endian, &cache).map_err(damaged)? {
        if segment.p_type(endian) == PT_INTERP && segment.p_filesz(endian) > LONGEST_LOADER_NAME {
            return Err("an ELF file whose loader has a longer name than the kernel takes".to_owned());
        }
        if let Some(loader) = segment.interpreter(endian, &cache).map_err(damaged)? {
            let loader = Path::new(std::ffi::OsStr::from_bytes(loader)).to_owned();
            return Ok(Program::Native { loader: Some(loader) });
        }
    }
    Ok(Program::Native { loader: None })
}

fn architecture(machine: Machine, is_64: bool) -> String {
    let known = ARCHITECTURES.iter().find(|(number, _)| *number == machine);
    match known {
        Some((OWN_MACHINE, name)) if !is_64 => format!("{name} with 32-bit addresses"),
        Some((_, name)) => (*name).to_owned(),
        None => format!("ELF machine {}", machine.0),
    }
}

/// Whether a loader has the list's path in it, as a text of its own: musl's has none, and Nix's glibc another.
pub fn names_preload_list(file: File) -> io::Result<bool> {
    let text = [b"\0", PRELOAD_TARGET.as_bytes(), b"\0"].concat();
    let mut file = file.take(LARGEST_LOADER);
    let mut bytes = Vec::with_capacity(PIECE);
    loop {
        let kept = bytes.len();
        file.by_ref()
            .take((PIECE - kept) as u64)
            .read_to_end(&mut bytes)?;
        if memchr::memmem::find(&bytes, &text).is_some() {
            return Ok(true);
        }
        if bytes.len() < PIECE {
            return Ok(false);
        }
        // The text may lie across two pieces.
        bytes.drain(..PIECE - text.len());
    }
}
