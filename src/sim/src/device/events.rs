//! A process's events and the threads that wait for them. Source: Linux, kfd_events.c.
//!
//! A wait is never served by blocking: it is kept as a [`Waiter`] until an event, its time limit or the end of the
//! process completes it, and its answer is sent then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::args::Args;
use super::process::Process;
use super::{Refusal, refuse};
use crate::tracee::Caller;

/// `KFD_SIGNAL_EVENT_LIMIT`: signal events have the ids below, others those from it on.
const SIGNAL_LIMIT: u32 = 4096;
/// `KFD_IOC_EVENT_*`: the kinds that a program can set itself.
const KIND_SIGNAL: u32 = 0;
const KIND_DEBUG: u32 = 5;
/// Greatest kind, `KFD_IOC_EVENT_MEMORY`.
const KIND_LAST: u32 = 8;
/// Offset for mmap of the page of signals on a GPU whose memory is the host's; non-zero tells libhsakmt that signals
/// have slots.
const EVENT_PAGE_OFFSET: u64 = 1 << 42;
/// Size of `struct kfd_event_data`, and the offset of its event_id.
const EVENT_DATA: usize = 48;
const EVENT_DATA_ID: usize = 40;
/// `KFD_IOC_WAIT_RESULT_*`.
const WAIT_COMPLETE: u32 = 0;
const WAIT_TIMEOUT: u32 = 1;
/// Offset of `wait_result` in the argument of WAIT_EVENTS.
const WAIT_RESULT: usize = 20;
/// The time limit that means none.
const FOREVER: u32 = u32::MAX;

#[derive(Debug)]
struct Event {
    kind: u32,
    auto_reset: bool,
    signaled: bool,
    age: u64,
}

#[derive(Debug)]
struct Awaited {
    event: u32,
    /// The age that the caller knows; 0 for a caller that does not ask.
    age: u64,
    age_address: u64,
    done: bool,
}

/// A thread in WAIT_EVENTS.
#[derive(Debug)]
pub struct Waiter {
    /// The kernel's cookie of the call.
    pub call_id: u64,
    tid: i32,
    argument: u64,
    all: bool,
    deadline: Option<Instant>,
    awaited: Vec<Awaited>,
}

/// A wait that is over: what to write where, in the memory of thread `tid`, before the call is answered with 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// The kernel's cookie of the call.
    pub call_id: u64,
    /// The waiting thread.
    pub tid: i32,
    /// Addresses and bytes.
    pub writes: Vec<(u64, Vec<u8>)>,
}

/// A process's events.
#[derive(Debug, Default)]
pub struct Events {
    events: BTreeMap<u32, Event>,
    waiters: Vec<Waiter>,
    has_page: bool,
}

impl Events {
    fn create(&mut self, kind: u32, auto_reset: bool) -> Result<u32, Refusal> {
        if kind > KIND_LAST {
            return Err(refuse(Errno::EINVAL, format!("event type {kind}")));
        }
        let first = if is_signal(kind) { 1 } else { SIGNAL_LIMIT };
        let end = if is_signal(kind) {
            SIGNAL_LIMIT
        } else {
            i32::MAX as u32
        };
        let free = (first..end).find(|id| !self.events.contains_key(id));
        let id = free.ok_or_else(|| refuse(Errno::ENOSPC, "no event is left"))?;
        self.events.insert(
            id,
            Event {
                kind,
                auto_reset,
                signaled: false,
                age: 1,
            },
        );
        Ok(id)
    }

    /// Sets an event, as the device does by its interrupt. Returns the waits that this completes.
    pub fn signal(&mut self, id: u32) -> Vec<Completion> {
        if let Some(event) = self.events.get_mut(&id) {
            event.age += 1;
            event.signaled = true;
            for waiter in &mut self.waiters {
                waiter.notice(id, event);
            }
        }
        self.take_complete()
    }

    /// The waits whose time is up.
    pub fn expire(&mut self, now: Instant) -> Vec<Completion> {
        let (over, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter: &Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now));
        self.waiters = waiting;
        over.into_iter()
            .map(|waiter| self.complete(&waiter, WAIT_TIMEOUT))
            .collect()
    }

    /// When the next wait's time is up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiters.iter().filter_map(|waiter| waiter.deadline).min()
    }

    /// Begins a wait; the completion where there is nothing to wait for.
    fn wait(&mut self, mut waiter: Waiter) -> Result<Option<Completion>, Refusal> {
        for awaited in &mut waiter.awaited {
            let event = self.events.get_mut(&awaited.event);
            let event = event.ok_or_else(|| refuse(Errno::EINVAL, format!("no event {}", awaited.event)))?;
            let is_news = awaited.age != 0 && awaited.age != event.age;
            awaited.done = event.signaled || is_news;
            if event.auto_reset && event.signaled {
                event.signaled = false;
            }
        }
        if waiter.is_complete() {
            return Ok(Some(self.complete(&waiter, WAIT_COMPLETE)));
        }
        if waiter.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(Some(self.complete(&waiter, WAIT_TIMEOUT)));
        }
        self.waiters.push(waiter);
        Ok(None)
    }

    fn take_complete(&mut self) -> Vec<Completion> {
        let (over, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter: &Waiter| waiter.is_complete());
        self.waiters = waiting;
        over.into_iter()
            .map(|waiter| self.complete(&waiter, WAIT_COMPLETE))
            .collect()
    }

    fn complete(&self, waiter: &Waiter, result: u32) -> Completion {
        let age_of = |awaited: &Awaited| {
            let age = self.events.get(&awaited.event).map(|event| event.age)?;
            (awaited.age != 0).then(|| (awaited.age_address, age.to_le_bytes().to_vec()))
        };
        let mut writes: Vec<_> = waiter.awaited.iter().filter_map(age_of).collect();
        writes.push((
            waiter.argument + WAIT_RESULT as u64,
            result.to_le_bytes().to_vec(),
        ));
        Completion {
            call_id: waiter.call_id,
            tid: waiter.tid,
            writes,
        }
    }

    fn settable(&mut self, id: u32) -> Result<&mut Event, Refusal> {
        let event = self.events.get_mut(&id).filter(|event| is_signal(event.kind));
        event.ok_or_else(|| refuse(Errno::EINVAL, format!("no event {id} that can be set")))
    }
}

fn is_signal(kind: u32) -> bool {
    kind == KIND_SIGNAL || kind == KIND_DEBUG
}

impl Waiter {
    fn notice(&mut self, id: u32, event: &mut Event) {
        for awaited in self
            .awaited
            .iter_mut()
            .filter(|awaited| awaited.event == id && !awaited.done)
        {
            awaited.done = true;
            if event.auto_reset {
                event.signaled = false;
            }
        }
    }

    fn is_complete(&self) -> bool {
        let mut done = self.awaited.iter().map(|awaited| awaited.done);
        if self.all {
            done.all(|done| done)
        } else {
            done.any(|done| done)
        }
    }
}

impl Process {
    /// CREATE_EVENT.
    pub fn create_event(&mut self, args: &mut Args) -> Result<(), Refusal> {
        let (page, kind, auto_reset) = (args.u64(0), args.u32(12), args.u32(16) != 0);
        if page != 0 {
            self.set_event_page(page)?;
        }
        let id = self.events.create(kind, auto_reset)?;
        args.set_u32(24, id);
        if is_signal(kind) {
            args.set_u64(0, EVENT_PAGE_OFFSET);
            args.set_u32(8, id);
            args.set_u32(28, id);
        }
        Ok(())
    }

    fn set_event_page(&mut self, handle: u64) -> Result<(), Refusal> {
        if self.events.has_page {
            return Err(refuse(Errno::EINVAL, "the page of events is set already"));
        }
        let buffer = self
            .buffer(handle)
            .ok_or_else(|| refuse(Errno::EINVAL, "no such page of events"))?;
        let unsignaled = vec![0xff; buffer.buffer.size.min(u64::from(SIGNAL_LIMIT) * 8) as usize];
        buffer
            .buffer
            .write(0, &unsignaled)
            .map_err(|e| refuse(Errno::EINVAL, format!("page of events: {e}")))?;
        self.events.has_page = true;
        Ok(())
    }

    /// DESTROY_EVENT. Who waits for the event is woken.
    pub fn destroy_event(&mut self, id: u32) -> Result<Vec<Completion>, Refusal> {
        if !self.events.events.contains_key(&id) {
            return Err(refuse(Errno::EINVAL, format!("no event {id}")));
        }
        let woken = self.events.signal(id);
        self.events.events.remove(&id);
        Ok(woken)
    }

    /// SET_EVENT.
    pub fn set_event(&mut self, id: u32) -> Result<Vec<Completion>, Refusal> {
        self.events.settable(id)?;
        Ok(self.events.signal(id))
    }

    /// RESET_EVENT.
    pub fn reset_event(&mut self, id: u32) -> Result<(), Refusal> {
        self.events.settable(id)?.signaled = false;
        Ok(())
    }

    /// WAIT_EVENTS: the completion where the wait is over at once.
    pub fn wait_events(&mut self, caller: &Caller<'_>, args: &Args) -> Result<Option<Completion>, Refusal> {
        // What a queue is to do may have been rung for just now.
        if let Some(engine) = &self.engine {
            engine.look();
        }
        let (array, count, timeout) = (args.u64(0), args.u32(8) as usize, args.u32(16));
        if count > SIGNAL_LIMIT as usize * 4 {
            return Err(refuse(Errno::ENOMEM, format!("a wait for {count} events")));
        }
        let bytes = caller.read(array, count * EVENT_DATA)?;
        let awaited = bytes.chunks_exact(EVENT_DATA).enumerate().map(|(index, data)| {
            let data = Args(data.to_vec());
            let id = data.u32(EVENT_DATA_ID);
            let has_age = self
                .events
                .events
                .get(&id)
                .is_some_and(|event| event.kind == KIND_SIGNAL);
            Awaited {
                event: id,
                age: if has_age { data.u64(0) } else { 0 },
                age_address: array + (index * EVENT_DATA) as u64,
                done: false,
            }
        });
        let deadline =
            (timeout != FOREVER).then(|| Instant::now() + Duration::from_millis(u64::from(timeout)));
        let waiter = Waiter {
            call_id: caller.call.id,
            tid: caller.call.tid,
            argument: caller.call.args[2],
            all: args.u32(12) != 0 && count > 0,
            deadline,
            awaited: awaited.collect(),
        };
        self.events.wait(waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(events: &[u32], all: bool, age: u64) -> Waiter {
        let awaited = events.iter().map(|id| Awaited {
            event: *id,
            age,
            age_address: 0x100,
            done: false,
        });
        Waiter {
            call_id: 7,
            tid: 1,
            argument: 0x1000,
            all,
            deadline: None,
            awaited: awaited.collect(),
        }
    }

    fn result(completion: &Completion) -> u8 {
        completion.writes.last().map(|(_, bytes)| bytes[0]).unwrap()
    }

    #[test]
    fn a_wait_for_any_ends_with_the_first_event_and_one_for_all_with_the_last() {
        let mut events = Events::default();
        let ids = [
            events.create(KIND_SIGNAL, true).unwrap(),
            events.create(KIND_SIGNAL, true).unwrap(),
        ];
        assert_eq!(events.wait(waiter(&ids, true, 0)).unwrap(), None);
        assert_eq!(events.signal(ids[0]), []);
        assert_eq!(
            events.wait(waiter(&ids[..1], false, 0)).unwrap(),
            None,
            "auto-reset"
        );
        assert_eq!(events.signal(ids[1]).len(), 1);
        assert_eq!(events.signal(ids[0]).len(), 1);
    }

    #[test]
    fn a_set_event_completes_a_wait_at_once_and_once() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, true).unwrap();
        events.signal(id);
        let done = events.wait(waiter(&[id], false, 0)).unwrap().unwrap();
        assert_eq!(result(&done), WAIT_COMPLETE as u8);
        assert_eq!(events.wait(waiter(&[id], false, 0)).unwrap(), None);
    }

    #[test]
    fn a_caller_that_knows_an_older_age_does_not_wait() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, true).unwrap();
        assert_eq!(events.wait(waiter(&[id], false, 1)).unwrap(), None);
        let done = events.signal(id);
        assert_eq!(done[0].writes[0], (0x100, 2u64.to_le_bytes().to_vec()));
        assert!(events.wait(waiter(&[id], false, 1)).unwrap().is_some());
    }

    #[test]
    fn a_wait_ends_when_its_time_is_up() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, false).unwrap();
        let now = Instant::now();
        let limited = Waiter {
            deadline: Some(now + Duration::from_secs(60)),
            ..waiter(&[id], false, 0)
        };
        assert_eq!(events.wait(limited).unwrap(), None);
        assert_eq!(events.expire(now), []);
        let over = events.expire(now + Duration::from_secs(61));
        assert_eq!(result(&over[0]), WAIT_TIMEOUT as u8);
        assert!(events.wait(waiter(&[id + 1], false, 0)).is_err());
    }
}
