//! Calls that were interrupted after they had been served.
//!
//! A signal, a freezer or a debugger may take a caller out of its call at any moment, and the supervisor hears of it when
//! the answer finds nobody. The kernel then makes the caller begin the call anew (or the caller does so itself, after
//! EINTR), with the same arguments. What was served must not be served twice: the results are kept, and given when it
//! comes again.

use std::collections::HashMap;
use std::path::Path;

use nix::errno::Errno;

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

/// Served calls that found nobody, by thread.
pub(super) type Interrupted = HashMap<i32, (Call, Served)>;

impl Supervisor {
    /// Writes a call's results and answers it.
    pub(super) fn conclude(&self, call: &Call, served: Served) {
        // The memory of a caller that was interrupted may be something else by now.
        if served.after != served.before && !sys::is_waiting(&self.listener, call.id) {
            return self.keep(call, served);
        }
        let written = write(call, &served);
        let answer = written.map_or_else(|errno| Answer::Error(errno as i32), |()| served.answer);
        if sys::answer(&self.listener, call.id, answer).is_err() {
            self.keep(call, served);
        }
    }

    /// Answers a call whose results, if any, are written.
    pub(super) fn reply(&self, call: &Call, answer: Answer) {
        if sys::answer(&self.listener, call.id, answer).is_err() && matters(call, answer) {
            let argument = argument(call);
            let served = Served {
                before: argument.clone(),
                after: argument,
                answer,
            };
            self.keep(call, served);
        }
    }

    fn keep(&self, call: &Call, served: Served) {
        let lives = |tid: &i32| Path::new(&format!("/proc/{tid}")).exists();
        if matters(call, served.answer) {
            let mut interrupted = lock(&self.interrupted);
            interrupted.insert(call.tid, (*call, served));
            interrupted.retain(|tid, _| lives(tid));
        }
    }

    /// Whether a call is one that was served before it was interrupted, and is answered now.
    pub(super) fn is_answered_again(&self, call: &Call) -> bool {
        let mut interrupted = lock(&self.interrupted);
        let is_same = |(kept, served): &(Call, Served)| {
            let argument = argument(call);
            (kept.nr, kept.args) == (call.nr, call.args)
                && (argument == served.before || argument == served.after)
        };
        if !interrupted.get(&call.tid).is_some_and(is_same) {
            return false;
        }
        let kept = interrupted.remove(&call.tid);
        drop(interrupted);
        if let Some((_, served)) = kept {
            self.conclude(call, served);
        }
        true
    }
}

/// Whether it makes a difference that a call is served twice.
fn matters(call: &Call, answer: Answer) -> bool {
    matches!(call.nr, libc::SYS_ioctl | libc::SYS_mount) && matches!(answer, Answer::Value(_))
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
