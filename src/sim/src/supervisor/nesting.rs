//! Filters of containers that have a listener of their own: which of them a call is subject to, and their end.

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Supervisor, lock};
use crate::nested::{Deed, Judgement, Nested};
use crate::sys::{self, Answer, Call};
use crate::tracee;

/// What woke the main thread: a listener that nobody holds any more, by its place in the list. Beyond the tokens of
/// `sdg-sim run`, below those of the supervisor.
const DESERTED: u64 = 1 << 42;
/// Or the end of the process that asked for a filter.
const OVER: u64 = 1 << 43;

/// The filters in the order of their coming; those that are over leave their place empty.
pub(super) type NestedFilters = Vec<Option<Nested>>;

/// Whether a token is one of a filter's.
pub(super) fn is_token(token: u64) -> bool {
    token < OVER << 1 && token & (DESERTED | OVER) != 0
}

impl Supervisor {
    /// A filter that asks for a listener of its own.
    pub(super) fn nest(&self, call: &Call) -> Option<Answer> {
        // Whether the flag is known is asked without a program; the kernel's answer will do.
        if call.args[2] == 0 {
            return Some(Answer::Continue);
        }
        let mut nested = lock(&self.nested);
        let place = nested.len() as u64;
        let added = Nested::install(call, &self.listener).and_then(|new| {
            self.epoll
                .add(new.wake(), EpollEvent::new(EpollFlags::empty(), DESERTED | place))?;
            self.epoll
                .add(new.owner(), EpollEvent::new(EpollFlags::EPOLLIN, OVER | place))?;
            nested.push(Some(new));
            Ok(())
        });
        added
            .err()
            .map(|error| Answer::Error(error.raw_os_error().unwrap_or(libc::EINVAL)))
    }

    pub(super) fn end_nested(&self, token: u64) {
        let mut nested = lock(&self.nested);
        let place = (token & !(DESERTED | OVER)) as usize;
        let Some(slot) = nested.get_mut(place) else {
            return;
        };
        let failed = slot.as_mut().map(Nested::desert).unwrap_or_default();
        if let Some(entry) = slot {
            let _not_watched = self.epoll.delete(entry.wake());
            if token & OVER != 0 {
                let _not_watched = self.epoll.delete(entry.owner());
                *slot = None;
            }
        }
        for call in failed {
            let _gone = sys::answer(&self.listener, call.id, Answer::Error(libc::ENOSYS));
        }
    }

    /// An ioctl of a nested listener's holder, or one that a nested filter judges first.
    pub(super) fn judged_ioctl(&self, call: &Call) -> Option<Answer> {
        let mut nested = lock(&self.nested);
        if nested.iter().all(Option::is_none) {
            drop(nested);
            return self.ioctl(call);
        }
        let file = tracee::descriptor_id(call.tid, call.args[0] as i32);
        let is_held = |entry: &&mut Nested| file.is_some_and(|file| entry.is_listener(file));
        if let Some(listener) = nested.iter_mut().flatten().find(is_held) {
            let deed = listener.serve(call, &self.listener);
            drop(nested);
            return Some(self.carry_out(deed));
        }
        let filter = nested
            .iter_mut()
            .rev()
            .flatten()
            .find(|entry| entry.rules_over(call.tid));
        let judgement = filter.map_or(Judgement::Pass, |filter| filter.judge(call));
        drop(nested);
        match judgement {
            Judgement::Pass => self.ioctl(call),
            Judgement::Waits => None,
            Judgement::Fails(errno) => Some(Answer::Error(errno)),
        }
    }

    /// The answer to the listener's holder.
    fn carry_out(&self, deed: Deed) -> Answer {
        let (call, answer) = match deed {
            Deed::Done(answer) => return answer,
            // A call that was interrupted comes again, and is judged again.
            Deed::Answered(call, _) if !sys::is_waiting(&self.listener, call.id) => {
                return Answer::Error(libc::ENOENT);
            }
            Deed::Answered(call, Answer::Continue) => (call, self.ioctl(&call)),
            Deed::Answered(call, answer) => (call, Some(answer)),
        };
        let sent = answer.map_or(Ok(()), |answer| sys::answer(&self.listener, call.id, answer));
        match sent {
            Ok(()) => Answer::Value(0),
            Err(_) => Answer::Error(libc::ENOENT),
        }
    }
}
