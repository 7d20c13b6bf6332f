//! Listeners below the simulator: the kernel allows one seccomp listener in a tree, and the simulator has it. A filter
//! that asks for a listener of its own (a container's, with `listenerPath`) is therefore not installed but run here, for
//! the ioctls of its container, and its listener is a pipe whose ioctls are answered here.
//!
//! ```text
//! seccomp(NEW_LISTENER) → the caller gets a pipe's end; its program is kept for its pid namespace
//! ioctl of that namespace ─ program: notify ─→ waits; a byte in the pipe ─ RECV, SEND on the pipe → goes on, or fails
//! ```
//! What is not as with a kernel: other rules of the filter than those for ioctl do not hold, and who shares the container's
//! pid namespace is judged by its newest filter.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::bpf;
use crate::filter::Instruction;
use crate::sys::{self, Answer, Call, GiveOptions};
use crate::tracee::{self, FileId};

/// Numbers of the listener's ioctls, of type '!': `SECCOMP_IOCTL_NOTIF_*`.
const RECV: u32 = 0;
const SEND: u32 = 1;
const ID_VALID: u32 = 2;
const SET_FLAGS: u32 = 4;
/// Longest program, as in the kernel: BPF_MAXINSNS.
const MOST_INSTRUCTIONS: usize = 4096;
/// `SECCOMP_RET_ACTION_FULL` and `SECCOMP_RET_DATA`.
const ACTION: u32 = 0xffff_0000;
const DATA: u32 = 0xffff;

/// A filter with a listener.
#[derive(Debug)]
pub struct Nested {
    program: Vec<Instruction>,
    namespace: u64,
    /// The end of the pipe that the listener's holder has.
    file: FileId,
    /// The other end.
    wake: File,
    /// The process that asked for it.
    owner: OwnedFd,
    waiting: VecDeque<Call>,
    taken: HashMap<u64, Call>,
    /// Nobody holds the listener any more.
    is_deserted: bool,
}

/// What becomes of a call below a filter.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The filter lets it through.
    Pass,
    /// It waits for the filter's listener.
    Waits,
    /// It fails.
    Fails(i32),
}

/// What a listener's holder did.
#[derive(Debug)]
pub enum Deed {
    /// Its own call is answered, and nothing else happens.
    Done(Answer),
    /// It has answered a call that waited.
    Answered(Call, Answer),
}

impl Nested {
    /// The filter that a call of seccomp(2) asks for; its caller has the listener then.
    pub fn install(call: &Call, listener: &OwnedFd) -> io::Result<Self> {
        let program = read_program(call)?;
        let gone = || io::Error::from(nix::errno::Errno::ESRCH);
        let namespace = namespace_of(call.tid).ok_or_else(gone)?;
        let owner = sys::pidfd(tracee::process_of(call.tid).ok_or_else(gone)?)?;
        let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let theirs = File::from(theirs);
        let file = FileId::of(&theirs)?;
        let options = GiveOptions {
            answers: true,
            close_on_exec: true,
        };
        sys::give_file(listener, call.id, &theirs, options)?;
        Ok(Self {
            program,
            namespace,
            file,
            wake: File::from(ours),
            owner,
            waiting: VecDeque::new(),
            taken: HashMap::new(),
            is_deserted: false,
        })
    }

    /// Reports an error when nobody holds the listener any more.
    pub fn wake(&self) -> &File {
        &self.wake
    }

    /// Readable when the process that asked for the filter has ended.
    pub fn owner(&self) -> &OwnedFd {
        &self.owner
    }

    /// Whether it rules over a thread.
    pub fn rules_over(&self, tid: i32) -> bool {
        namespace_of(tid) == Some(self.namespace)
    }

    /// Whether a file is its listener.
    pub fn is_listener(&self, file: FileId) -> bool {
        self.file == file
    }

    /// What the filter says to an ioctl; one that waits is kept.
    pub fn judge(&mut self, call: &Call) -> Judgement {
        match bpf::run(&self.program, call) {
            Some(verdict) if verdict & ACTION == libc::SECCOMP_RET_USER_NOTIF => self.wait(call),
            Some(verdict) if verdict & ACTION == libc::SECCOMP_RET_ERRNO => {
                Judgement::Fails((verdict & DATA) as i32)
            }
            _ => Judgement::Pass,
        }
    }

    fn wait(&mut self, call: &Call) -> Judgement {
        if self.is_deserted || self.wake.write_all(&[0]).is_err() {
            return Judgement::Fails(libc::ENOSYS);
        }
        self.waiting.push_back(*call);
        Judgement::Waits
    }

    /// Nobody holds the listener any more: what waits fails, as in the kernel's seccomp_notify_release().
    pub fn desert(&mut self) -> Vec<Call> {
        self.is_deserted = true;
        self.waiting
            .drain(..)
            .chain(self.taken.drain().map(|(_, call)| call))
            .collect()
    }

    /// An ioctl of the listener's holder.
    pub fn serve(&mut self, call: &Call, listener: &OwnedFd) -> Deed {
        let request = call.args[1] as u32;
        let result = match sdg_abi::ioc_nr(request) {
            _ if sdg_abi::ioc_type(request) != b'!' => Err(libc::ENOTTY),
            RECV => self.give(call, listener),
            SEND => return self.answered(call),
            ID_VALID => self.is_valid(call, listener),
            SET_FLAGS => Ok(()),
            _ => Err(libc::EINVAL),
        };
        Deed::Done(result.map_or_else(Answer::Error, |()| Answer::Value(0)))
    }

    /// The next call that waits, as a `struct seccomp_notif`.
    fn give(&mut self, holder: &Call, listener: &OwnedFd) -> Result<(), i32> {
        let waiting = loop {
            let waiting = self.waiting.pop_front().ok_or(libc::ENOENT)?;
            take_byte(holder);
            if sdg_notify::is_waiting(listener, waiting.id) {
                break waiting;
            }
        };
        let mut bytes = Vec::with_capacity(size_of::<sdg_notify::RawCall>());
        bytes.extend_from_slice(&waiting.id.to_ne_bytes());
        for word in [waiting.tid as u32, 0, waiting.nr as u32, waiting.arch, 0, 0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        waiting
            .args
            .iter()
            .for_each(|argument| bytes.extend_from_slice(&argument.to_ne_bytes()));
        tracee::write_memory(holder.tid, holder.args[2], &bytes).map_err(|errno| errno as i32)?;
        self.taken.insert(waiting.id, waiting);
        Ok(())
    }

    fn answered(&mut self, holder: &Call) -> Deed {
        let mut bytes = [0; size_of::<sdg_notify::RawResponse>()];
        if let Err(errno) = tracee::read_memory(holder.tid, holder.args[2], &mut bytes) {
            return Deed::Done(Answer::Error(errno as i32));
        }
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let wide = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let Some(call) = self.taken.remove(&wide(0)) else {
            return Deed::Done(Answer::Error(libc::ENOENT));
        };
        let answer = match (word(20), word(16) as i32) {
            (flags, _) if flags & libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 != 0 => Answer::Continue,
            (_, 0) => Answer::Value(wide(8) as i64),
            (_, error) => Answer::Error(-error),
        };
        Deed::Answered(call, answer)
    }

    fn is_valid(&self, holder: &Call, listener: &OwnedFd) -> Result<(), i32> {
        let mut id = [0; 8];
        tracee::read_memory(holder.tid, holder.args[2], &mut id).map_err(|errno| errno as i32)?;
        let id = u64::from_ne_bytes(id);
        if self.taken.contains_key(&id) && sdg_notify::is_waiting(listener, id) {
            Ok(())
        } else {
            Err(libc::ENOENT)
        }
    }
}

/// The pipe holds a byte for each call that waits, so that its reader polls readable just then. It is read by way of the
/// holder's descriptor: an end of our own would keep the pipe from being deserted.
fn take_byte(holder: &Call) {
    let path = format!("/proc/{}/fd/{}", holder.tid, holder.args[0] as i32);
    let pipe = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let _gone = pipe.and_then(|mut pipe| pipe.read(&mut [0]));
}

/// The pid namespace of a thread.
fn namespace_of(tid: i32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{tid}/ns/pid")).ok()?.ino())
}

/// The program that a `struct sock_fprog` in the caller's memory is of.
fn read_program(call: &Call) -> io::Result<Vec<Instruction>> {
    let mut head = [0; 16];
    tracee::read_memory(call.tid, call.args[2], &mut head)?;
    let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
    let mut address = [0; 8];
    address.copy_from_slice(&head[8..]);
    if length == 0 || length > MOST_INSTRUCTIONS {
        return Err(nix::errno::Errno::EINVAL.into());
    }
    let mut bytes = vec![0; length * 8];
    tracee::read_memory(call.tid, u64::from_ne_bytes(address), &mut bytes)?;
    let (instructions, _) = bytes.as_chunks::<8>();
    Ok(instructions
        .iter()
        .map(|b| Instruction {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect())
}
