//! Whether every program of a container can load the shim. The dynamic loader says one line about a library of its list
//! that it cannot load, and starts the program without it: without a limit.
//!
//! What is looked at are headers, a few hundred bytes wherever they are: that segments and sections end within the file
//! is how one that was cut short is known.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use nix::sys::statvfs::{FsFlags, fstatvfs};
use object::elf::{ET_DYN, FileHeader64, PT_DYNAMIC, PT_INTERP, PT_LOAD, SHN_UNDEF, SHT_DYNSYM};
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::{Endianness, ReadCache};

use super::program::{self, OWN_ARCHITECTURE};

/// What the shim stands in front of.
const SYMBOL: &[u8] = b"ioctl";
/// Size of an ELF header of 64 bits. Source: elf.h, `Elf64_Ehdr`.
const HEADER: usize = 64;
/// Read by others. Source: POSIX, sys/stat.h, `S_IROTH`.
const READ_BY_OTHERS: u32 = 0o004;

/// Why the shim cannot be loaded everywhere.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It cannot be looked at.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A directory, a device.
    #[error("it is no regular file")]
    Kind,
    /// Whoever a container's process is, or becomes, has to read it.
    #[error("not every user may read it (mode {0:04o})")]
    Mode(u32),
    /// The kernel maps no code from there.
    #[error("its file system is mounted noexec")]
    NoExec,
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// No library at all.
    #[error("it is no shared library of ELF's")]
    NotElf,
    /// Another machine's.
    #[error("it is a library for {0}, and this machine is {OWN_ARCHITECTURE}")]
    Foreign(String),
    /// A part of it.
    #[error("it is cut short or damaged: {0}")]
    Damaged(String),
    /// A library that limits nothing.
    #[error("it is another library: it has no ioctl of its own")]
    Other,
}

impl Unfit {
    /// What to do about the file at this path.
    pub fn mend(&self, path: &Path) -> String {
        match self {
            Self::Mode(_) => format!("chmod o+r {}", path.display()),
            Self::NoExec => "put it on another file system".to_owned(),
            Self::Unreadable(_)
            | Self::Kind
            | Self::Empty
            | Self::NotElf
            | Self::Damaged(_)
            | Self::Other => "install sdg as a whole: a package, or make install".to_owned(),
            Self::Foreign(_) => "install the package for this machine".to_owned(),
        }
    }
}

/// Looks at the file that containers are given as the shim.
pub fn check(file: &File) -> Result<(), Unfit> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unfit::Kind);
    }
    let mode = metadata.permissions().mode();
    if mode & READ_BY_OTHERS == 0 {
        return Err(Unfit::Mode(mode & 0o7777));
    }
    if fstatvfs(file).is_ok_and(|system| system.flags().contains(FsFlags::ST_NOEXEC)) {
        return Err(Unfit::NoExec);
    }
    check_content(file, metadata.len())
}

fn check_content(file: &File, length: u64) -> Result<(), Unfit> {
    if length == 0 {
        return Err(Unfit::Empty);
    }
    let mut first = [0; HEADER];
    let count = file.read_at(&mut first, 0)?;
    let first = first.get(..count).unwrap_or_default();
    if !program::is_elf(first) {
        return Err(Unfit::NotElf);
    }
    if let Some(architecture) = program::foreign(first).map_err(Unfit::Damaged)? {
        return Err(Unfit::Foreign(architecture));
    }
    let cache = ReadCache::new(file);
    match exports(&cache, length) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unfit::Other),
        Err(Shape::NoLibrary) => Err(Unfit::NotElf),
        Err(Shape::Damaged(reason)) => Err(Unfit::Damaged(reason)),
    }
}

/// What is wrong with an ELF file of this machine.
enum Shape {
    NoLibrary,
    Damaged(String),
}

impl From<object::read::Error> for Shape {
    fn from(error: object::read::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Whether a library that is whole has the shim's symbol.
fn exports(cache: &ReadCache<&File>, length: u64) -> Result<bool, Shape> {
    let header = FileHeader64::<Endianness>::parse(cache)?;
    let endian = header.endian()?;
    let mut is_dynamic = false;
    for segment in header.program_headers(endian, cache)? {
        let (offset, size) = segment.file_range(endian);
        match segment.p_type(endian) {
            // A program, which the loader refuses as a library.
            PT_INTERP => return Err(Shape::NoLibrary),
            PT_DYNAMIC => is_dynamic = true,
            PT_LOAD if offset.checked_add(size).is_none_or(|end| end > length) => {
                return Err(Shape::Damaged(format!("{length} bytes of more")));
            }
            _ => {}
        }
    }
    if header.e_type(endian) != ET_DYN || !is_dynamic {
        return Err(Shape::NoLibrary);
    }
    let symbols = header
        .sections(endian, cache)?
        .symbols(endian, cache, SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        if symbol.st_shndx(endian) != SHN_UNDEF && symbols.symbol_name(endian, symbol)? == SYMBOL {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "../../tests/support/stand_in.rs"]
pub(crate) mod stand_in;

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn complaint(path: &Path) -> String {
        check(&File::open(path).unwrap()).map_or_else(|unfit| unfit.to_string(), |()| "good".to_owned())
    }

    /// What is said of a file with this content.
    fn of(content: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))
            .unwrap();
        std::fs::write(file.path(), content).unwrap();
        complaint(file.path())
    }

    /// As [`of`] for the stand-in with these bytes in place of those at an offset.
    fn changed(at: usize, bytes: &[u8]) -> String {
        let mut library = stand_in::library("ioctl");
        library[at..at + bytes.len()].copy_from_slice(bytes);
        of(&library)
    }

    #[test]
    fn a_whole_library_that_everybody_may_read_is_good_and_its_owner_does_not_matter() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), stand_in::library("ioctl")).unwrap();
        for (mode, expected) in [
            (0o444, "good"),
            (0o755, "good"),
            (0o600, "not every user may read it (mode 0600)"),
            (0o640, "not every user may read it (mode 0640)"),
            (0o4711, "not every user may read it (mode 4711)"),
        ] {
            file.as_file()
                .set_permissions(Permissions::from_mode(mode))
                .unwrap();
            assert_eq!(complaint(file.path()), expected);
        }
        assert_eq!(complaint(Path::new("/")), "it is no regular file");
        assert_eq!(complaint(Path::new("/dev/null")), "it is no regular file");
    }

    #[test]
    fn what_is_no_library_of_this_machine_is_told_apart() {
        assert_eq!(of(b""), "it is empty");
        for text in [&b"hello"[..], b"#!/bin/sh\n", b"\x7fEL", &[0; 5000]] {
            assert!(of(text).contains("no shared library"), "{text:?}: {}", of(text));
        }
        assert!(of(&stand_in::library("write")).contains("no ioctl"));
        // e_machine, EI_CLASS, e_type: of ARM's, of 32 bits, of a program's at a fixed address.
        assert!(changed(18, &[183, 0]).contains("a library for aarch64"));
        assert!(changed(18, &[3, 0]).contains("a library for i386"));
        assert!(changed(4, &[1]).contains("32-bit addresses"));
        assert!(changed(16, &[2, 0]).contains("no shared library"));
        // The program headers' types: an interpreter in place of the dynamic section, and neither.
        assert!(changed(64 + 56, &[3]).contains("no shared library"));
        assert!(changed(64 + 56, &[4]).contains("no shared library"));
        let program = std::env::current_exe().unwrap();
        assert!(
            complaint(&program).contains("no shared library"),
            "{}",
            complaint(&program)
        );
    }

    #[test]
    fn no_part_of_a_library_is_taken_for_the_whole() {
        let library = stand_in::library("ioctl");
        assert_eq!(of(&library), "good");
        for length in 1..library.len() {
            let said = of(&library[..length]);
            let told = said.contains("cut short") || length < 5 && said.contains("no shared library");
            assert!(told, "{length} of {}: {said}", library.len());
        }
        // Wherever the headers point to: beyond the file, beyond all numbers.
        for at in [32, 40, 64 + 8, 64 + 32] {
            assert!(changed(at, &u64::MAX.to_le_bytes()).contains("cut short"), "{at}");
            assert!(
                changed(at, &(1u64 << 40).to_le_bytes()).contains("cut short"),
                "{at}"
            );
        }
    }
}
