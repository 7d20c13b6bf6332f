//! A process's events and the threads that wait for them. Source: Linux, kfd_events.c.
//!
//! A wait is never served by blocking: it is kept as a [`Waiter`] until an event, its time limit or the end of the
//! process completes it, and its answer is sent then.
//!
//! A signal, a freezer or a debugger interrupts a wait, of which nothing tells. Its thread comes again, as the kernel
//! restarts the call, and goes on where it was. What an interrupted wait has taken of events that reset themselves is
//! given back, as by the kernel's `free_waiters()`: before another event is set, and when the answer finds nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::args::Args;
use super::memory::Buffer;
use super::process::Process;
use super::{Refusal, refuse};
use crate::sys::Call;
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
/// `UNSIGNALED_EVENT_SLOT`.
const UNSIGNALED: [u8; 8] = [0xff; 8];
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
    call: Call,
    all: bool,
    /// In milliseconds, as the caller gave it.
    timeout: u32,
    deadline: Option<Instant>,
    awaited: Vec<Awaited>,
}

/// A wait that is over: what to write where, in the memory of the caller, before the call is answered with 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// The call that waits.
    pub call: Call,
    /// Addresses and bytes.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// The events that the wait has reset.
    taken: Vec<u32>,
}

/// A process's events.
#[derive(Debug, Default)]
pub struct Events {
    events: BTreeMap<u32, Event>,
    waiters: Vec<Waiter>,
    /// The signal events' slots, 64 bits each.
    page: Option<Arc<Buffer>>,
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

    /// Sets an event, as the device does by its interrupt. Returns the waits that this completes, of those that
    /// `is_waiting` says of that they were not interrupted.
    pub fn signal(&mut self, id: u32, is_waiting: impl Fn(u64) -> bool) -> Vec<Completion> {
        let interrupted: Vec<Waiter> = self
            .waiters
            .extract_if(.., |waiter| !is_waiting(waiter.call.id))
            .collect();
        for waiter in interrupted {
            self.set_all(&self.taken_by(&waiter));
        }
        self.set_all(&[id]);
        self.take_complete()
    }

    /// The device's interrupt: sets event `id` if its slot was written to, else all whose slots were
    /// (`kfd_signal_event_interrupt()`). Returns the waits that this completes.
    pub fn interrupt(&mut self, id: u32, is_waiting: impl Fn(u64) -> bool) -> Vec<Completion> {
        let Some(page) = self.page.clone() else {
            return self.signal(id, is_waiting);
        };
        let was_written = |id: u32| {
            let mut slot = UNSIGNALED;
            let read = page.read(u64::from(id) * 8, &mut slot);
            read.is_ok() && slot != UNSIGNALED
        };
        let all = || self.events.keys().copied().filter(|id| *id < SIGNAL_LIMIT);
        let written: Vec<u32> = match id {
            1..SIGNAL_LIMIT if was_written(id) => vec![id],
            _ => all().filter(|id| was_written(*id)).collect(),
        };
        let mut over = Vec::new();
        for id in written {
            // What the device reads of it again does not matter: it is reset before the event is set.
            let _gone = page.write(u64::from(id) * 8, &UNSIGNALED);
            over.extend(self.signal(id, &is_waiting));
        }
        over
    }

    /// Gives back what a wait has taken whose answer found nobody. Returns the waits that this completes.
    pub fn take_back(&mut self, unanswered: &Completion) -> Vec<Completion> {
        self.set_all(&unanswered.taken);
        self.take_complete()
    }

    /// `set_event()` of the kernel's.
    fn set_all(&mut self, ids: &[u32]) {
        for id in ids {
            if let Some(event) = self.events.get_mut(id) {
                event.age += 1;
                event.signaled = true;
                for waiter in &mut self.waiters {
                    waiter.notice(*id, event);
                }
            }
        }
    }

    /// The events that a wait has reset.
    fn taken_by(&self, waiter: &Waiter) -> Vec<u32> {
        let taken = waiter.awaited.iter().filter(|awaited| awaited.done);
        let resets_itself = |id: &u32| self.events.get(id).is_some_and(|event| event.auto_reset);
        taken.map(|awaited| awaited.event).filter(resets_itself).collect()
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

    /// Begins a wait, or goes on with the one of that thread that was interrupted. Returns the waits that are over.
    fn wait(&mut self, mut waiter: Waiter) -> Result<Vec<Completion>, Refusal> {
        let own = self
            .waiters
            .iter()
            .position(|other| other.call.tid == waiter.call.tid);
        if let Some(interrupted) = own.map(|place| self.waiters.remove(place)) {
            if (interrupted.call.args, interrupted.timeout) == (waiter.call.args, waiter.timeout) {
                waiter.deadline = interrupted.deadline;
            }
            self.set_all(&self.taken_by(&interrupted));
        }
        for awaited in &mut waiter.awaited {
            let event = self.events.get_mut(&awaited.event);
            let event = event.ok_or_else(|| refuse(Errno::EINVAL, format!("no event {}", awaited.event)))?;
            let is_news = awaited.age != 0 && awaited.age != event.age;
            awaited.done = event.signaled || is_news;
            if event.auto_reset && event.signaled {
                event.signaled = false;
            }
        }
        let is_over = waiter.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let mut over = Vec::new();
        if waiter.is_complete() {
            over.push(self.complete(&waiter, WAIT_COMPLETE));
        } else if is_over {
            over.push(self.complete(&waiter, WAIT_TIMEOUT));
        } else {
            self.waiters.push(waiter);
        }
        over.extend(self.take_complete());
        Ok(over)
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
            waiter.call.args[2] + WAIT_RESULT as u64,
            result.to_le_bytes().to_vec(),
        ));
        Completion {
            call: waiter.call,
            writes,
            taken: self.taken_by(waiter),
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
        if self.events.page.is_some() {
            return Err(refuse(Errno::EINVAL, "the page of events is set already"));
        }
        let buffer = self
            .buffer(handle)
            .ok_or_else(|| refuse(Errno::EINVAL, "no such page of events"))?;
        let page = Arc::clone(&buffer.buffer);
        let unsignaled = vec![0xff; page.size.min(u64::from(SIGNAL_LIMIT) * 8) as usize];
        page.write(0, &unsignaled)
            .map_err(|e| refuse(Errno::EINVAL, format!("page of events: {e}")))?;
        self.events.page = Some(page);
        Ok(())
    }

    /// DESTROY_EVENT. Who waits for the event is woken.
    pub fn destroy_event(&mut self, caller: &Caller<'_>, id: u32) -> Result<Vec<Completion>, Refusal> {
        if !self.events.events.contains_key(&id) {
            return Err(refuse(Errno::EINVAL, format!("no event {id}")));
        }
        let woken = self.events.signal(id, |call| caller.waits(call));
        self.events.events.remove(&id);
        Ok(woken)
    }

    /// SET_EVENT.
    pub fn set_event(&mut self, caller: &Caller<'_>, id: u32) -> Result<Vec<Completion>, Refusal> {
        self.events.settable(id)?;
        Ok(self.events.signal(id, |call| caller.waits(call)))
    }

    /// RESET_EVENT.
    pub fn reset_event(&mut self, id: u32) -> Result<(), Refusal> {
        self.events.settable(id)?.signaled = false;
        Ok(())
    }

    /// WAIT_EVENTS. Returns the waits that are over: this one, where it was so at once.
    pub fn wait_events(&mut self, caller: &Caller<'_>, args: &Args) -> Result<Vec<Completion>, Refusal> {
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
            call: caller.call,
            all: args.u32(12) != 0 && count > 0,
            timeout,
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
            call: wait_events(7, 1),
            all,
            timeout: FOREVER,
            deadline: None,
            awaited: awaited.collect(),
        }
    }

    fn wait_events(id: u64, tid: i32) -> Call {
        Call {
            id,
            tid,
            nr: libc::SYS_ioctl,
            arch: 0,
            args: [3, 0, 0x1000, 0, 0, 0],
        }
    }

    /// The same as another thread's.
    fn of_thread(tid: i32, waiter: Waiter) -> Waiter {
        Waiter {
            call: wait_events(tid as u64, tid),
            ..waiter
        }
    }

    fn signal(events: &mut Events, id: u32) -> Vec<Completion> {
        events.signal(id, |_| true)
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
        assert_eq!(events.wait(waiter(&ids, true, 0)).unwrap(), []);
        assert_eq!(signal(&mut events, ids[0]), []);
        assert_eq!(
            events.wait(of_thread(2, waiter(&ids[..1], false, 0))).unwrap(),
            [],
            "auto-reset"
        );
        assert_eq!(signal(&mut events, ids[1]).len(), 1);
        assert_eq!(signal(&mut events, ids[0]).len(), 1);
    }

    #[test]
    fn a_set_event_completes_a_wait_at_once_and_once() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, true).unwrap();
        signal(&mut events, id);
        let done = events.wait(waiter(&[id], false, 0)).unwrap();
        assert_eq!(result(&done[0]), WAIT_COMPLETE as u8);
        assert_eq!(events.wait(waiter(&[id], false, 0)).unwrap(), []);
    }

    #[test]
    fn a_caller_that_knows_an_older_age_does_not_wait() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, true).unwrap();
        assert_eq!(events.wait(waiter(&[id], false, 1)).unwrap(), []);
        let done = signal(&mut events, id);
        assert_eq!(done[0].writes[0], (0x100, 2u64.to_le_bytes().to_vec()));
        assert_eq!(events.wait(waiter(&[id], false, 1)).unwrap().len(), 1);
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
        assert_eq!(events.wait(limited).unwrap(), []);
        assert_eq!(events.expire(now), []);
        let over = events.expire(now + Duration::from_secs(61));
        assert_eq!(result(&over[0]), WAIT_TIMEOUT as u8);
        assert!(events.wait(waiter(&[id + 1], false, 0)).is_err());
    }

    #[test]
    fn an_interrupted_wait_goes_on_with_its_time_and_loses_no_event() {
        let mut events = Events::default();
        let ids = [(); 2].map(|()| events.create(KIND_SIGNAL, true).unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let limited = Waiter {
            timeout: 60_000,
            deadline: Some(deadline),
            ..waiter(&ids, true, 0)
        };
        assert_eq!(events.wait(limited).unwrap(), []);
        assert_eq!(signal(&mut events, ids[0]), []);
        let again = Waiter {
            call: wait_events(8, 1),
            timeout: 60_000,
            deadline: Some(deadline + Duration::from_secs(60)),
            ..waiter(&ids, true, 0)
        };
        assert_eq!(events.wait(again).unwrap(), []);
        assert_eq!(events.next_deadline(), Some(deadline));
        let done = signal(&mut events, ids[1]);
        assert_eq!((done.len(), done[0].call.id), (1, 8));
    }

    #[test]
    fn an_event_that_comes_while_nobody_waits_is_kept() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, true).unwrap();
        assert_eq!(events.wait(waiter(&[id], false, 0)).unwrap(), []);
        assert_eq!(events.signal(id, |_| false), [], "interrupted");
        assert_eq!(events.wait(waiter(&[id], false, 0)).unwrap().len(), 1);
        assert_eq!(events.wait(waiter(&[id], false, 0)).unwrap(), [], "taken once");
    }

    #[test]
    fn what_an_unanswered_wait_has_taken_goes_to_the_next() {
        let mut events = Events::default();
        let id = events.create(KIND_SIGNAL, true).unwrap();
        signal(&mut events, id);
        let unanswered = events.wait(waiter(&[id], false, 0)).unwrap();
        let other = of_thread(2, waiter(&[id], false, 0));
        assert_eq!(events.wait(other).unwrap(), []);
        let over = events.take_back(&unanswered[0]);
        assert_eq!((over.len(), over[0].call.tid), (1, 2));
    }
}
