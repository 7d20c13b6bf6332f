//! A slice's two pages in a directory of their own, and processes that use them.
#![allow(dead_code, reason = "each test program uses a part")]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sdg_abi::{Plain, limits, usage};
use sdg_shim_core::pages::Paths;
use sdg_shim_core::process::Anchor;

pub const GPU_ID: u32 = 0xbeef;

/// Pages on a file system in memory, as on a host.
pub struct Slice {
    pub directory: tempfile::TempDir,
    pub paths: Paths,
}

/// The pages that a host has made in a directory.
pub fn pages_in(directory: &Path) -> Paths {
    Paths {
        limits: leaked(directory.join("limits")),
        usage: leaked(directory.join("usage")),
    }
}

fn leaked(path: PathBuf) -> &'static CStr {
    Box::leak(
        CString::new(path.as_os_str().as_bytes())
            .unwrap()
            .into_boxed_c_str(),
    )
}

impl Slice {
    /// A slice of one GPU with `memory_limit` bytes and the first 64 of its units.
    pub fn new(memory_limit: u64) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let paths = pages_in(directory.path());
        let slice = Self { directory, paths };
        slice.write_limits(&limits_page(memory_limit));
        let mut page = usage::UsagePage::zeroed();
        page.header.magic = usage::MAGIC;
        page.header.version = usage::VERSION;
        page.header.size = usage::PAGE_SIZE as u32;
        std::fs::write(slice.directory.path().join("usage"), page.as_bytes()).unwrap();
        slice
    }

    pub fn write_limits(&self, page: &limits::LimitsPage) {
        let path = self.directory.path().join("limits");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        file.write_all_at(page.as_bytes(), 0).unwrap();
    }

    pub fn usage(&self) -> usage::UsagePage {
        usage::UsagePage::from_prefix(&std::fs::read(self.directory.path().join("usage")).unwrap())
    }

    /// What the page says is in use on the GPU, dead slots included.
    pub fn noted(&self) -> u64 {
        self.usage().slots.iter().map(|slot| slot.used[0]).sum()
    }

    pub fn anchor(&self) -> Anchor {
        Anchor::new(self.paths)
    }
}

pub fn limits_page(memory_limit: u64) -> limits::LimitsPage {
    let mut page = limits::LimitsPage::zeroed();
    page.header.magic = limits::MAGIC;
    page.header.version = limits::VERSION;
    page.header.size = limits::PAGE_SIZE as u32;
    page.header.gpu_count = 1;
    page.header.generation = 1;
    page.gpus[0].gpu_id = GPU_ID;
    page.gpus[0].render_minor = 128;
    page.gpus[0].memory_limit = memory_limit;
    page.gpus[0].memory_total = 1 << 40;
    page.gpus[0].xcc_count = 8;
    page.gpus[0].mask_bits = 64;
    page.gpus[0].mask[..2].fill(u32::MAX);
    page
}

/// A forked process that reserves and releases as it is told.
pub struct Worker {
    pub pid: libc::pid_t,
    commands: i32,
    answers: i32,
}

const RESERVE: u64 = 1;
const RELEASE: u64 = 2;
const CLOSE_ALL: u64 = 3;
const EXEC: u64 = 4;
const AVAILABLE: u64 = 5;
const FORK: u64 = 6;

impl Worker {
    /// Forks. The child has of the parent's state what a fork leaves it: `anchor` is the parent's own.
    pub fn fork(anchor: &Anchor) -> Self {
        let (mut commands, mut answers) = ([0; 2], [0; 2]);
        // SAFETY: plain system calls; the child only makes system calls and uses the shim, which does not allocate.
        unsafe {
            assert_eq!(libc::pipe2(commands.as_mut_ptr(), libc::O_CLOEXEC), 0);
            assert_eq!(libc::pipe2(answers.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let pid = libc::fork();
            assert!(pid >= 0);
            if pid == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::close(commands[1]);
                serve(anchor, commands[0], answers[1]);
            }
            libc::close(commands[0]);
            libc::close(answers[1]);
            Self {
                pid,
                commands: commands[1],
                answers: answers[0],
            }
        }
    }

    fn ask(&self, command: u64, argument: u64) -> u64 {
        let words = [command, argument];
        let mut answer = 0u64;
        // SAFETY: the buffers are as long as said.
        unsafe {
            assert_eq!(libc::write(self.commands, words.as_ptr().cast(), 16), 16);
            assert_eq!(
                libc::read(self.answers, (&raw mut answer).cast(), 8),
                8,
                "the worker is gone"
            );
        }
        answer
    }

    pub fn reserve(&self, bytes: u64) -> bool {
        self.ask(RESERVE, bytes) == 1
    }

    pub fn release(&self, bytes: u64) {
        self.ask(RELEASE, bytes);
    }

    pub fn available(&self) -> u64 {
        self.ask(AVAILABLE, 0)
    }

    /// Closes every descriptor but those of this conversation.
    pub fn close_all(&self) {
        self.ask(CLOSE_ALL, 0);
    }

    /// Forks a child that does nothing and outlives it.
    pub fn fork_idler(&self) -> Idler {
        Idler(self.ask(FORK, 0) as libc::pid_t)
    }

    /// Becomes `sleep`.
    pub fn exec(&self) {
        let words = [EXEC, 0];
        let mut answer = 0u64;
        // SAFETY: the buffers are as long as said; the read ends when exec closes the other end.
        unsafe {
            assert_eq!(libc::write(self.commands, words.as_ptr().cast(), 16), 16);
            assert_eq!(libc::read(self.answers, (&raw mut answer).cast(), 8), 0);
        }
        // What the old program had mapped is let go on the way into the new one, after its descriptors.
        let stat = format!("/proc/{}/stat", self.pid);
        while !std::fs::read_to_string(&stat).unwrap().contains("(sleep) S ") {
            std::thread::yield_now();
        }
    }

    pub fn kill(&self) {
        // SAFETY: the child of this process.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        // SAFETY: this value's own descriptors.
        unsafe {
            libc::close(self.commands);
            libc::close(self.answers);
        }
    }
}

/// A process that waits to be killed.
pub struct Idler(libc::pid_t);

impl Idler {
    pub fn is_alive(&self) -> bool {
        // SAFETY: signal 0 only asks.
        unsafe { libc::kill(self.0, 0) == 0 }
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        // SAFETY: a grandchild of this process.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

fn serve(anchor: &Anchor, commands: i32, answers: i32) -> ! {
    loop {
        let mut words = [0u64; 2];
        // SAFETY: the buffer is as long as said.
        if unsafe { libc::read(commands, words.as_mut_ptr().cast(), 16) } != 16 {
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(0) };
        }
        let process = anchor.enter();
        let answer = match (words[0], process) {
            (RESERVE, Ok(process)) => u64::from(process.reserve(0, words[1])),
            (RELEASE, Ok(process)) => {
                process.release(0, words[1]);
                1
            }
            (AVAILABLE, Ok(process)) => process.available(0),
            (CLOSE_ALL, _) => {
                for fd in (3..4096).filter(|fd| *fd != commands && *fd != answers) {
                    // SAFETY: closing is what this command is for.
                    unsafe { libc::close(fd) };
                }
                1
            }
            (FORK, _) => {
                // SAFETY: the child does nothing but wait.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    loop {
                        // SAFETY: waits for a signal.
                        unsafe { libc::pause() };
                    }
                }
                pid as u64
            }
            (EXEC, _) => {
                let arguments = [c"sleep".as_ptr(), c"100".as_ptr(), std::ptr::null()];
                // SAFETY: the list ends with a null pointer.
                unsafe { libc::execv(c"/bin/sleep".as_ptr(), arguments.as_ptr()) };
                0
            }
            _ => 99,
        };
        // SAFETY: the buffer is as long as said.
        unsafe { libc::write(answers, (&raw const answer).cast(), 8) };
    }
}

/// A small generator, the same on every run.
pub struct Random(AtomicU64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    pub fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.store(state, Ordering::Relaxed);
        state % bound
    }
}
