//! Images made to mislead or exhaust the program that looks at them before a container is made: each is refused in one
//! line or gets its slice, at once, in little memory, and nothing outside the image is read or touched.
//!
//! Whole containers of such images, in each engine: `tests/e2e/hostile.bats`.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use object::elf::PT_INTERP;
use sandbox::{Sandbox, complaint, run_with, stderr};
use serde_json::json;

/// What the hook may have of address space: its program and its stack included.
const ADDRESS_SPACE: &str = "--as=67108864";
/// In a file beside the image.
const SECRET: &str = "/secret/of/the/host.so";

/// A node, an image in `rootfs`, and beside it a host's directory that the image points at.
struct Ground {
    sandbox: Sandbox,
}

impl Ground {
    fn new() -> Self {
        let ground = Self {
            sandbox: Sandbox::new("mi300x", &[]),
        };
        image::fill(&ground.rootfs());
        fs::create_dir_all(ground.host("etc")).unwrap();
        fs::write(ground.host("etc/ld.so.preload"), SECRET).unwrap();
        ground
    }

    fn rootfs(&self) -> PathBuf {
        self.sandbox.path("rootfs")
    }

    fn image(&self, name: &str) -> PathBuf {
        self.rootfs().join(name)
    }

    fn host(&self, name: &str) -> PathBuf {
        self.sandbox.path("host").join(name)
    }

    /// The precreate hook of a container of the image, in little memory and at most 20 seconds.
    fn hook(&self, program: &str) -> Output {
        let hook = self.sandbox.sdg(&["hook", "precreate"]);
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=1", "20", "prlimit", ADDRESS_SPACE])
            .arg(hook.get_program())
            .args(hook.get_args());
        let config = json!({
            "process": {"args": [program]},
            "root": {"path": self.rootfs()},
            "annotations": {"sdg.memory": "1Gi"},
        });
        run_with(&mut command, config.to_string().as_bytes())
    }

    fn refused(&self, program: &str) -> String {
        let said = complaint(&self.hook(program));
        assert_eq!(self.sandbox.ledger_files(), [""; 0], "{said}");
        said
    }

    /// The preload file that the container will have, and the slice goes again.
    fn accepted(&self, what: &str) -> String {
        let output = self.hook("/bin/sh");
        assert!(output.status.success(), "{what}: {}", stderr(&output));
        self.preload_of_slice()
    }

    fn preload_of_slice(&self) -> String {
        let [id] = &self.sandbox.ledger_files()[..] else {
            return String::new();
        };
        let directory = self.sandbox.path("state/slices").join(id);
        let preload = fs::read_to_string(directory.join("preload")).unwrap();
        assert!(self.sandbox.run(&["slice", "delete", id]).status.success());
        preload
    }
}

/// A file of this length that takes no room.
fn sparse(path: &Path, length: u64) -> File {
    let file = File::create(path).unwrap();
    file.set_len(length).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn link(target: impl AsRef<Path>, path: &Path) {
    symlink(target, path).unwrap();
}

#[test]
fn a_preload_file_that_is_none_is_refused_without_being_opened() {
    type Make<'a> = &'a dyn Fn(&Ground, &Path);
    let ways: [(&str, Make<'_>, &str); 3] = [
        (
            "a sparse file",
            &|_, path| drop(sparse(path, 1 << 30)),
            "1073741824 bytes long",
        ),
        (
            "a link to a FIFO",
            &|ground, path| {
                mkfifo(&ground.image("fifo"), Mode::S_IRWXU).unwrap();
                link("/fifo", path);
            },
            "no regular file",
        ),
        (
            "a link to itself",
            &|_, path| link("ld.so.preload", path),
            "symbolic links",
        ),
    ];
    for (what, make, said) in ways {
        let ground = Ground::new();
        make(&ground, &ground.image("etc/ld.so.preload"));
        let line = ground.refused("/bin/sh");
        assert!(
            line.contains("/etc/ld.so.preload") && line.contains(said),
            "{what}: {line}"
        );
    }
}

#[test]
fn links_to_the_host_find_what_is_there_in_the_image_and_no_more() {
    for (what, before) in [
        ("absolute", ""),
        ("through a process", "/proc/1/root"),
        ("through a working directory", "/proc/self/cwd"),
    ] {
        let ground = Ground::new();
        let target = format!("{before}{}", ground.host("etc/ld.so.preload").display());
        link(&target, &ground.image("etc/ld.so.preload"));
        assert_eq!(
            ground.accepted(what),
            "/run/sdg/libasan.so/../libsdg.so\n",
            "{what}"
        );
        let within = ground.image(&target[1..]);
        fs::create_dir_all(within.parent().unwrap()).unwrap();
        fs::write(within, "/own.so").unwrap();
        assert_eq!(
            ground.accepted(what),
            "/own.so\n/run/sdg/libasan.so/../libsdg.so\n",
            "{what}"
        );
    }
}

/// Says that it is over when it goes, by a failed assertion too: nobody waits for ever for the other thread.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Where a 64-bit ELF file says so. Source: elf.h, `Elf64_Ehdr` and `Elf64_Phdr`.
mod at {
    pub const SECTION_HEADERS: u64 = 40;
    pub const HEADER_COUNT: u64 = 56;
    pub const PROGRAM_HEADERS: u64 = 64;
    pub const SIZE_IN_FILE: u64 = PROGRAM_HEADERS + 32;
}

/// A program's first bytes with nothing but a header of the loader's name, which begins behind it.
fn head(ground: &Ground) -> Vec<u8> {
    let mut head = fs::read(ground.image("bin/true")).unwrap();
    head.truncate(128);
    head[at::HEADER_COUNT as usize..][..2].copy_from_slice(&1u16.to_le_bytes());
    let header = &mut head[at::PROGRAM_HEADERS as usize..];
    header.fill(0);
    header[..4].copy_from_slice(&PT_INTERP.0.to_le_bytes());
    header[8] = 120;
    head
}

#[test]
fn a_program_does_not_choose_how_much_of_it_is_read() {
    const LONG: u64 = 8 << 30;
    let ground = Ground::new();
    let program = sparse(&ground.image("bin/program"), 64 << 30);
    program.write_all_at(&head(&ground), 0).unwrap();
    program
        .write_all_at(&LONG.to_le_bytes(), at::SIZE_IN_FILE)
        .unwrap();
    let said = ground.refused("/bin/program");
    assert!(said.contains("longer name than the kernel takes"), "{said}");

    // More headers than 65534 are counted in the first section header, and so many it may say there are.
    program.write_all_at(&[0xff, 0xff], at::HEADER_COUNT).unwrap();
    program
        .write_all_at(&4096u64.to_le_bytes(), at::SECTION_HEADERS)
        .unwrap();
    program
        .write_all_at(&[0xff, 0xff, 0xff, 0x0f], 4096 + 44)
        .unwrap();
    let said = ground.refused("/bin/program");
    assert!(
        said.contains("more program headers than the kernel takes"),
        "{said}"
    );

    let loader = ground.image(&image::GLIBC_LOADER[1..]);
    sparse(&loader, 1 << 30);
    let said = ground.refused("/bin/sh");
    assert!(said.contains("does not read /etc/ld.so.preload"), "{said}");
}

#[test]
fn the_text_that_tells_loaders_apart_is_found_wherever_it_lies() {
    let ground = Ground::new();
    let loader = File::options()
        .write(true)
        .open(ground.image(&image::GLIBC_LOADER[1..]))
        .unwrap();
    for at in [65_530, 65_536, 131_040, 200_000] {
        loader.set_len(0).unwrap();
        loader.write_all_at(b"\0/etc/ld.so.preload\0", at).unwrap();
        ground.accepted(&format!("at byte {at}"));
    }
}

#[test]
fn an_image_that_changes_while_it_is_looked_at_leads_nowhere() {
    let ground = Ground::new();
    fs::write(ground.image("etc/ld.so.preload"), "/own.so").unwrap();
    // What each name becomes and was, in turn.
    fs::create_dir(ground.image("other")).unwrap();
    link(ground.host("etc"), &ground.image("other/etc"));
    link(ground.host("etc/ld.so.preload"), &ground.image("other/preload"));
    mkfifo(&ground.image("other/fifo"), Mode::S_IRWXU).unwrap();
    mkfifo(&ground.image("other/sh"), Mode::S_IRWXU).unwrap();
    // By their directories and not by paths, which would lead through /etc to the host.
    let [root, etc, bin, other] =
        ["", "etc", "bin", "other"].map(|name| File::open(ground.image(name)).unwrap());
    let pairs = [
        (&etc, "ld.so.preload", "preload"),
        (&etc, "ld.so.preload", "fifo"),
        (&bin, "sh", "sh"),
        (&root, "etc", "etc"),
    ];
    let over = AtomicBool::new(false);
    let (mut started, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                for (directory, name, name_there) in pairs {
                    let exchange = RenameFlags::RENAME_EXCHANGE;
                    renameat2(directory, name, &other, name_there, exchange).unwrap();
                }
            }
        });
        let _over = Over(&over);
        for _ in 0..200 {
            let output = ground.hook("/bin/sh");
            if output.status.success() {
                started += 1;
                let preload = ground.preload_of_slice();
                assert!(
                    [
                        "/own.so\n/run/sdg/libasan.so/../libsdg.so\n",
                        "/run/sdg/libasan.so/../libsdg.so\n"
                    ]
                    .contains(&&*preload),
                    "{preload}"
                );
            } else {
                refused += 1;
                complaint(&output);
                assert_eq!(ground.sandbox.ledger_files(), [""; 0]);
            }
        }
    });
    assert!(
        started > 0 && refused > 0,
        "{started} got a slice, {refused} were refused: nothing changed in time"
    );
    assert_eq!(
        fs::read_to_string(ground.host("etc/ld.so.preload")).unwrap(),
        SECRET
    );
    assert_eq!(fs::read_dir(ground.host("etc")).unwrap().count(), 1);
}
