//! The caller of a system call: its memory, its descriptors, its process.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
pub use sdg_notify::caller::{is_thread_of, process_of, read_memory, status_field, write_memory};

use crate::device::{Refusal, refuse};
use crate::sys::{self, Call, GiveOptions};

/// Longest path that the kernel takes, with its end.
const PATH_MAX: usize = 4096;

/// Identity of a file: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The identity of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// A call with the means to serve it.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The waiting call.
    pub call: Call,
    /// The process that the calling thread belongs to.
    pub pid: i32,
    listener: &'a OwnedFd,
}

impl<'a> Caller<'a> {
    /// The caller `call.tid`, a thread of `pid`.
    pub fn new(call: Call, pid: i32, listener: &'a OwnedFd) -> Self {
        Self { call, pid, listener }
    }

    /// Whether a call of any thread still waits for its answer.
    pub fn waits(&self, call_id: u64) -> bool {
        sys::is_waiting(self.listener, call_id)
    }

    /// Reads `length` bytes of the caller's memory.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Refusal> {
        let mut buffer = vec![0; length];
        if length > 0 {
            read_memory(self.call.tid, address, &mut buffer).map_err(|_| {
                refuse(
                    Errno::EFAULT,
                    format!("cannot read {length} bytes at {address:#x}"),
                )
            })?;
        }
        Ok(buffer)
    }

    /// Reads 32-bit words of the caller's memory.
    pub fn read_words(&self, address: u64, count: usize) -> Result<Vec<u32>, Refusal> {
        let bytes = self.read(address, count * 4)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    }

    /// Writes the caller's memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        write_memory(self.call.tid, address, bytes).map_err(|_| {
            refuse(
                Errno::EFAULT,
                format!("cannot write {} bytes at {address:#x}", bytes.len()),
            )
        })
    }

    /// The file behind the caller's descriptor.
    pub fn file_id(&self, fd: u64) -> Option<FileId> {
        descriptor_id(self.call.tid, fd as i32)
    }

    /// Gives the caller a descriptor of `file`, closed by exec. Returns its number.
    pub fn give(&self, file: &File) -> Result<u32, Refusal> {
        let options = GiveOptions {
            answers: false,
            close_on_exec: true,
        };
        match sys::give_file(self.listener, self.call.id, file, options) {
            Ok(fd) => Ok(fd as u32),
            Err(error) => Err(refuse(
                Errno::EMFILE,
                format!("no descriptor could be given: {error}"),
            )),
        }
    }
}

/// The file behind descriptor `fd` of thread `tid`.
pub fn descriptor_id(tid: i32, fd: i32) -> Option<FileId> {
    let metadata = fs::metadata(format!("/proc/{tid}/fd/{fd}")).ok()?;
    Some(FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

/// The string at `address` in the memory of `tid`; None where it cannot be read.
pub fn read_string(tid: i32, address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(256);
    while text.len() < PATH_MAX {
        let from = address + text.len() as u64;
        let mut chunk = vec![0; (256 - from % 256) as usize];
        read_memory(tid, from, &mut chunk).ok()?;
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&chunk[..end]);
            return Some(text);
        }
        text.extend_from_slice(&chunk);
    }
    None
}

/// A new open file description of an open file.
pub fn reopen(file: &File) -> io::Result<File> {
    File::options().read(true).write(true).open(own_descriptor(file))
}

/// A new open file description of an open file, for reading only.
pub fn reopen_to_read(file: &File) -> io::Result<File> {
    File::open(own_descriptor(file))
}

/// A path by which this process finds a file that it has open.
pub fn own_descriptor(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The name of a process's program; empty where the process is gone.
pub fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}
