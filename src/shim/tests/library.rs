//! What `libsdg.so` asks of the process that loads it, and what it changes there.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/library.rs"]
mod library;

use std::ffi::{CString, c_int, c_ulong, c_void};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// What binutils' readelf says of the library.
fn readelf(option: &str) -> String {
    let output = Command::new("readelf")
        .args(["--wide", option])
        .arg(library::build())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "readelf {option}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Names in the dynamic symbol table, the defined ones or the others.
fn dynamic_symbols(defined: bool) -> Vec<String> {
    let table = readelf("--dyn-syms");
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let symbols = rows.filter(|row| row.len() >= 8 && row[0].ends_with(':') && row[0] != "Num:");
    symbols
        .filter(|row| (row[6] != "UND") == defined)
        .map(|row| row[7].to_owned())
        .collect()
}

#[test]
fn it_exports_ioctl_and_what_leads_past_it_and_nothing_else() {
    let mut symbols = dynamic_symbols(true);
    symbols.sort();
    assert_eq!(symbols, ["dlmopen", "dlopen", "ioctl"]);
}

#[test]
fn it_needs_libc_alone_and_an_old_one() {
    let dynamic = readelf("--dynamic");
    let needed: Vec<&str> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert_eq!(needed.len(), 1, "{needed:?}");
    assert!(needed[0].contains("[libc.so.6]"), "{needed:?}");

    let wanted = dynamic_symbols(false);
    assert!(!wanted.is_empty());
    for symbol in wanted {
        let (_, version) = symbol
            .split_once("@GLIBC_")
            .unwrap_or_else(|| panic!("{symbol} has no version of glibc's"));
        let numbers: Vec<u32> = version.split('.').map(|number| number.parse().unwrap()).collect();
        assert!(numbers <= vec![2, 17], "{symbol}");
    }
}

#[test]
fn it_runs_one_function_when_it_is_loaded() {
    let dynamic = readelf("--dynamic");
    let size = dynamic.lines().find(|line| line.contains("(INIT_ARRAYSZ)"));
    assert!(size.is_some_and(|line| line.contains(" 8 (bytes)")), "{dynamic}");
    for tag in ["(INIT)", "(FINI)", "(FINI_ARRAY)", "(PREINIT_ARRAY)", "(TEXTREL)"] {
        assert!(!dynamic.contains(tag), "{tag}");
    }
    let headers = readelf("--program-headers");
    assert!(
        !headers
            .lines()
            .any(|line| line.contains("LOAD") && line.contains("RWE")),
        "{headers}"
    );
}

type Ioctl = unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int;

/// The library's `ioctl`, in this process.
fn shim_ioctl() -> Ioctl {
    let path = CString::new(library::build().as_os_str().as_bytes()).unwrap();
    // SAFETY: the symbol is ioctl by type; the library stays loaded.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        std::mem::transmute::<*mut c_void, Ioctl>(libc::dlsym(library, c"ioctl".as_ptr()))
    }
}

#[test]
fn calls_of_other_devices_with_the_same_numbers_are_theirs() {
    let ioctl = shim_ioctl();
    let (mut terminal, mut other_end) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: room for two descriptors; nothing else is asked for.
    let opened = unsafe {
        libc::openpty(
            &raw mut terminal,
            &raw mut other_end,
            null,
            null.cast(),
            null.cast(),
        )
    };
    assert_eq!(opened, 0);
    // SAFETY: integers only.
    let mut wanted: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: a terminal and a termios.
    assert_eq!(unsafe { libc::tcgetattr(other_end, &raw mut wanted) }, 0);
    // CREATE_QUEUE's number and DESTROY_QUEUE's.
    for (request, bit) in [(libc::TCSETS, libc::ECHO), (libc::TCSETSW, libc::ICANON)] {
        wanted.c_lflag ^= bit;
        // SAFETY: the kernel reads its own, shorter termios from the argument.
        assert_eq!(unsafe { ioctl(other_end, request, (&raw mut wanted).cast()) }, 0);
        // SAFETY: as above.
        let mut found: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: a terminal and a termios.
        assert_eq!(unsafe { libc::tcgetattr(other_end, &raw mut found) }, 0);
        assert_eq!(found.c_lflag, wanted.c_lflag);
    }
    // FIGETBSZ has CREATE_QUEUE's number too.
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    let mut size: c_int = 0;
    // SAFETY: FIGETBSZ writes an int.
    assert_eq!(unsafe { ioctl(file.as_raw_fd(), 2, (&raw mut size).cast()) }, 0);
    assert_eq!(size, 4096);
}

#[test]
fn errors_are_told_as_libc_tells_them() {
    let ioctl = shim_ioctl();
    // A call that is passed on, one of the KFD's, and one of DRM's, on no descriptor.
    for request in [libc::FIONREAD, 0xc028_4b16, 0x4020_6445] {
        // SAFETY: no descriptor, no argument.
        assert_eq!(unsafe { ioctl(-1, request, std::ptr::null_mut()) }, -1);
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EBADF),
            "{request:#x}"
        );
    }
}
