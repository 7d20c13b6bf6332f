//! Calls that were interrupted after they had been served.
//!
//! A signal, a freezer or a debugger may take a caller out of its call at any moment. The kernel then makes the caller begin
//! the call anew (or the caller does so itself, after EINTR), with the same arguments. What was served must not be served
//! twice: the results are kept, and given when it comes again. The supervisor hears of it
//! - when the answer finds nobody;
//! - when the caller returns from a signal's handler: an answer that comes after the signal, and before the caller has run,
//!   is lost by the kernel, without a word (`seccomp_do_user_notification()`). That is only told from a second call of the
//!   same kind by what it does, so it counts for calls of which a second would fail, or wait for ever.

use std::collections::HashMap;
use std::path::Path;

use nix::errno::Errno;
use sdg_abi::kfd::nr;

use super::{Supervisor, lock};
use crate::sys::{self, Answer, Call};
use crate::tracee;

/// A call that was served.
#[derive(Debug)]
pub(super) struct Served {
    /// What its pointer led to when it was made.
    pub before: Vec<u8>,
    /// What is to be there.
    pub after: Vec<u8>,
    /// Its result.
    pub answer: Answer,
}

impl Served {
    /// A call that writes nothing, or whose results are written.
    fn as_it_is(call: &Call, answer: Answer) -> Self {
        let argument = argument(call);
        Self {
            before: argument.clone(),
            after: argument,
            answer,
        }
    }
}

/// A served call whose answer may not have come.
#[derive(Debug)]
pub(super) struct Kept {
    call: Call,
    served: Served,
    arrival: Arrival,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The kernel took it.
    Taken,
    /// The kernel took it, and the caller has returned from a signal's handler since.
    Doubtful,
    /// It found nobody.
    Missed,
}

/// The last call of each thread that may come again.
pub(super) type Interrupted = HashMap<i32, Kept>;

impl Supervisor {
    /// Writes a call's results and answers it.
    pub(super) fn conclude(&self, call: &Call, served: Served) {
        // The memory of a caller that was interrupted may be something else by now.
        if served.after != served.before && !sys::is_waiting(&self.listener, call.id) {
            return self.keep(call, served, Arrival::Missed);
        }
        let written = write(call, &served);
        let answer = written.map_or_else(|errno| Answer::Error(errno as i32), |()| served.answer);
        match sys::answer(&self.listener, call.id, answer) {
            Err(_) => self.keep(call, served, Arrival::Missed),
            Ok(()) if cannot_be_repeated(call) => self.keep(call, served, Arrival::Taken),
            Ok(()) => {}
        }
    }

    /// Answers a call whose results, if any, are written.
    pub(super) fn reply(&self, call: &Call, answer: Answer) {
        if sys::answer(&self.listener, call.id, answer).is_err() && matters(call, answer) {
            self.keep(call, Served::as_it_is(call, answer), Arrival::Missed);
        }
    }

    /// Answers a wait that is over, whose results are written. No where the answer finds nobody.
    pub(super) fn reply_to_wait(&self, call: &Call, answer: Answer) -> bool {
        // Before the caller runs, who may write over it.
        let served = Served::as_it_is(call, answer);
        let arrived = sys::answer(&self.listener, call.id, answer).is_ok();
        if arrived {
            self.keep(call, served, Arrival::Taken);
        }
        arrived
    }

    fn keep(&self, call: &Call, served: Served, arrival: Arrival) {
        if !matters(call, served.answer) {
            return;
        }
        let mut interrupted = lock(&self.interrupted);
        if !interrupted.contains_key(&call.tid) {
            interrupted.retain(|tid, _| Path::new(&format!("/proc/{tid}")).exists());
        }
        let kept = Kept {
            call: *call,
            served,
            arrival,
        };
        interrupted.insert(call.tid, kept);
    }

    /// A thread returns from a signal's handler.
    pub(super) fn returns_from_signal(&self, call: &Call) -> Answer {
        if let Some(kept) = lock(&self.interrupted).get_mut(&call.tid)
            && kept.arrival == Arrival::Taken
        {
            kept.arrival = Arrival::Doubtful;
        }
        Answer::Continue
    }

    /// Whether a call is one that was served before it was interrupted, and is answered now.
    pub(super) fn is_answered_again(&self, call: &Call) -> bool {
        if !can_be_kept(call) {
            return false;
        }
        let kept = lock(&self.interrupted).remove(&call.tid);
        let Some(kept) = kept.filter(|kept| kept.is_of(call)) else {
            return false;
        };
        self.conclude(call, kept.served);
        true
    }
}

impl Kept {
    fn is_of(&self, call: &Call) -> bool {
        let argument = || argument(call);
        (self.call.nr, self.call.args) == (call.nr, call.args)
            && match self.arrival {
                Arrival::Taken => false,
                // Its results were written before.
                Arrival::Doubtful => argument() == self.served.after,
                Arrival::Missed => [&self.served.before, &self.served.after].contains(&&argument()),
            }
    }
}

fn can_be_kept(call: &Call) -> bool {
    matches!(call.nr, libc::SYS_ioctl | libc::SYS_mount)
}

/// Whether it makes a difference that a call is served twice.
fn matters(call: &Call, answer: Answer) -> bool {
    can_be_kept(call) && matches!(answer, Answer::Value(_))
}

/// Whether a second call with the same arguments does not do what the first has done.
fn cannot_be_repeated(call: &Call) -> bool {
    const ENDS_OR_BEGINS: [u32; 7] = [
        nr::CREATE_QUEUE,
        nr::DESTROY_QUEUE,
        nr::CREATE_EVENT,
        nr::DESTROY_EVENT,
        nr::ALLOC_MEMORY_OF_GPU,
        nr::FREE_MEMORY_OF_GPU,
        nr::IMPORT_DMABUF,
    ];
    // GEM_CLOSE has the number of DESTROY_EVENT.
    call.nr == libc::SYS_ioctl && ENDS_OR_BEGINS.contains(&sdg_abi::ioc_nr(call.args[1] as u32))
}

/// What a call's pointers lead to, as far as one call is told from another by it.
fn argument(call: &Call) -> Vec<u8> {
    if call.nr == libc::SYS_mount {
        let text = |index: usize| tracee::read_string(call.tid, call.args[index]).unwrap_or_default();
        return [text(1), text(2)].concat();
    }
    let mut bytes = vec![0; sdg_abi::ioc_size(call.args[1] as u32)];
    // Without an argument, or with one that is gone, the numbers have to do.
    let _unreadable = tracee::read_memory(call.tid, call.args[2], &mut bytes);
    bytes
}

fn write(call: &Call, served: &Served) -> Result<(), Errno> {
    if call.nr != libc::SYS_ioctl || served.after == served.before {
        return Ok(());
    }
    tracee::write_memory(call.tid, call.args[2], &served.after)
}
