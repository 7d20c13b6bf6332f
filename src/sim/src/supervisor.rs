//! The supervisor: takes the system calls that the filter holds back and answers them.
//!
//! ```text
//! a call of the tree ─→ listener ─→ not ours: the kernel goes on with it
//!                                 ├→ open of a device: a memfd's descriptor for the caller
//!                                 ├→ fstat of one: a character device
//!                                 └→ ioctl of one: Machine (device/), under its lock
//! ```
//! A signal interrupts a call that waits, and the caller begins it anew: what was served is served once ([`interrupted`]).
//!
//! One thread takes calls and sleeps in the listener itself, so that the kernel can hand the processor from the caller to
//! it and back. The main thread sleeps in epoll: on the processes that have opened a device, on signals, on waits with a
//! time limit and on the end of the tree. One thread of each process's engine runs its queues, and one answers
//! `sdg-sim status`.

mod files;
mod interrupted;
mod ioctls;
mod nesting;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::device::events::Completion;
use crate::device::machine::{Device, Machine};
use crate::engine::Interrupts;
use crate::file_system;
use crate::log::Log;
use crate::opening::Numbers;
use crate::sys::{self, Answer, Call};
use crate::sysmount::SysMounts;
use crate::topology::Topology;
use crate::tracee;
use interrupted::Interrupted;
use nesting::NestedFilters;

/// What woke the main thread: nobody is left below the filter.
const DESERTED: u64 = u64::MAX;
/// A read of a file that is not to be read.
const TOPOLOGY: u64 = u64::MAX - 1;
/// A process that had opened a device is gone.
const PROCESS: u64 = u64::MAX - 2;
/// A wait with a time limit began.
const DEADLINE: u64 = u64::MAX - 3;

/// The supervisor.
pub struct Supervisor {
    machine: Mutex<Machine>,
    listener: OwnedFd,
    numbers: Numbers,
    log: Arc<Log>,
    sys_mounts: SysMounts,
    topology: Topology,
    nested: Mutex<NestedFilters>,
    interrupted: Mutex<Interrupted>,
    epoll: Epoll,
    new_deadline: EventFd,
    /// The processes of threads that are not their first.
    threads: Mutex<HashMap<i32, i32>>,
    deserted: AtomicBool,
}

/// The supervisor as the engines know it.
#[derive(Default)]
pub struct Interrupter(OnceLock<Weak<Supervisor>>);

impl Interrupter {
    /// Interrupts go to this supervisor from now on.
    pub fn reach(&self, supervisor: &Arc<Supervisor>) {
        self.0.get_or_init(|| Arc::downgrade(supervisor));
    }
}

impl Interrupts for Interrupter {
    fn raise(&self, pid: i32, event: u32) {
        if let Some(supervisor) = self.0.get().and_then(Weak::upgrade) {
            let is_waiting = |call| sys::is_waiting(&supervisor.listener, call);
            let process = |machine: &mut Machine| {
                machine
                    .processes
                    .get_mut(&pid)
                    .map(|process| process.events.interrupt(event, is_waiting))
            };
            let completed = process(&mut supervisor.machine());
            supervisor.finish(completed.unwrap_or_default());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// A supervisor of the calls that `listener` brings.
    pub fn new(
        machine: Machine,
        listener: OwnedFd,
        numbers: Numbers,
        (sys_mounts, topology): (SysMounts, Topology),
    ) -> io::Result<Self> {
        sys::wake_synchronously(&listener);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Hanging up is always told of; calls are the other thread's.
        epoll.add(&listener, EpollEvent::new(EpollFlags::empty(), DESERTED))?;
        let new_deadline = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&new_deadline, EpollEvent::new(EpollFlags::EPOLLIN, DEADLINE))?;
        if let Some(reads) = topology.waiting() {
            epoll.add(reads, EpollEvent::new(EpollFlags::EPOLLIN, TOPOLOGY))?;
        }
        let log = Arc::clone(&machine.log);
        Ok(Self {
            machine: Mutex::new(machine),
            listener,
            numbers,
            log,
            sys_mounts,
            topology,
            nested: Mutex::default(),
            interrupted: Mutex::default(),
            epoll,
            new_deadline,
            threads: Mutex::default(),
            deserted: AtomicBool::new(false),
        })
    }

    /// The devices.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    /// Wakes [`Self::serve`] with `token` when `fd` is readable.
    pub fn watch(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Ends [`Self::watch`].
    pub fn unwatch(&self, fd: impl AsFd) {
        let _not_watched = self.epoll.delete(fd);
    }

    /// Serves all but calls until one of the descriptors of [`Self::watch`] is readable, and returns its token. With a time
    /// limit, returns None when it has passed or nobody is left who could call.
    pub fn serve(&self, limit: Option<Instant>) -> io::Result<Option<u64>> {
        while limit.is_none_or(|limit| Instant::now() < limit && !self.deserted.load(Ordering::Relaxed)) {
            let deadline = self.machine().next_deadline();
            let mut events = [EpollEvent::empty(); 16];
            let wake = deadline.into_iter().chain(limit).min();
            let count = match self.epoll.wait(&mut events, timeout(wake)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let over = self.machine().expire(Instant::now());
                self.finish(over);
            }
            for event in &events[..count] {
                match event.data() {
                    DESERTED => self.desert(),
                    TOPOLOGY => self.topology.deny(),
                    PROCESS => self.machine().bury(),
                    // The deadline counts from the next round on.
                    DEADLINE => drop(self.new_deadline.read()),
                    token if nesting::is_token(token) => self.end_nested(token),
                    token => return Ok(Some(token)),
                }
            }
        }
        Ok(None)
    }

    /// Serves all but calls until nobody is left who could call.
    pub fn serve_all(&self) -> io::Result<()> {
        const LONG: Duration = Duration::from_secs(3600);
        while !self.deserted.load(Ordering::Relaxed) {
            self.serve(Some(Instant::now() + LONG))?;
        }
        Ok(())
    }

    /// Nobody is left below the filter.
    fn desert(&self) {
        self.deserted.store(true, Ordering::Relaxed);
        let _gone_already = self.epoll.delete(&self.listener);
    }

    /// Starts the thread that takes calls, until nobody is left who could call.
    pub fn take_calls(self: &Arc<Self>) -> io::Result<()> {
        let supervisor = Arc::clone(self);
        let take = move || {
            loop {
                match sys::receive(&supervisor.listener) {
                    Ok(call) => supervisor.take_call(&call),
                    Err(_) if supervisor.has_hung_up() => return,
                    // The caller died, or the thread was interrupted.
                    Err(_) => {}
                }
            }
        };
        thread::Builder::new().name("calls".to_owned()).spawn(take)?;
        Ok(())
    }

    fn has_hung_up(&self) -> bool {
        let mut listener = [PollFd::new(self.listener.as_fd(), PollFlags::empty())];
        poll(&mut listener, PollTimeout::ZERO).is_ok_and(|hung_up| hung_up > 0)
    }

    fn take_call(&self, call: &Call) {
        if self.is_answered_again(call) {
            return;
        }
        if let Some(answer) = self.handle(call) {
            self.reply(call, answer);
        }
    }

    /// The answer to a call; None where it was given already or comes later.
    fn handle(&self, call: &Call) -> Option<Answer> {
        match call.nr {
            libc::SYS_ioctl => self.judged_ioctl(call),
            libc::SYS_seccomp => self.nest(call),
            libc::SYS_fstat => Some(self.stat(call, 0, None)),
            libc::SYS_newfstatat => Some(self.stat(call, 0, Some(1))),
            libc::SYS_statx => Some(self.stat(call, 0, Some(1))),
            libc::SYS_statfs | libc::SYS_fstatfs => Some(file_system::answer(call)),
            libc::SYS_mount | libc::SYS_fsopen => Some(self.sys_mounts.handle(call)),
            libc::SYS_rt_sigreturn => Some(self.returns_from_signal(call)),
            _ => self.open(call),
        }
    }

    /// A process has a descriptor of a device: from now on the machine knows it, and its end.
    fn admit(&self, machine: &mut Machine, pid: i32) -> io::Result<()> {
        machine.bury();
        if machine.processes.contains_key(&pid) {
            return Ok(());
        }
        lock(&self.threads).retain(|_, process| machine.processes.contains_key(process));
        self.watch(&machine.begin(pid)?.pidfd, PROCESS)
    }

    /// A wait began: the main thread is woken where it has to know when the time is up.
    fn note_deadline(&self) {
        if self.machine().next_deadline().is_some() {
            // A full counter wakes as well.
            let _full = self.new_deadline.write(1);
        }
    }

    /// The device behind a thread's descriptor, where it is one of ours.
    fn device_of(&self, tid: i32, fd: u64) -> Option<Device> {
        let fd = fd as i32;
        self.device_given(tid, fd).or_else(|| {
            // A descriptor that was passed on or copied, or none of ours.
            let file = tracee::descriptor_id(tid, fd)?;
            self.machine().device(file)
        })
    }

    /// The same, where the descriptor is the one that the process was given, which a single question to the kernel tells.
    fn device_given(&self, tid: i32, fd: i32) -> Option<Device> {
        let pid = lock(&self.threads).get(&tid).copied().unwrap_or(tid);
        let mut machine = self.machine();
        let given = &mut machine.processes.get_mut(&pid)?.given;
        let (file, device) = given.get(&fd)?;
        if sys::is_open_as(file, (tid, fd)) {
            return Some(*device);
        }
        given.remove(&fd);
        None
    }

    /// The process that thread `tid` belongs to.
    fn process_of(&self, tid: i32) -> Option<i32> {
        if self.machine().processes.contains_key(&tid) {
            return Some(tid);
        }
        let mut threads = lock(&self.threads);
        if let Some(pid) = threads.get(&tid)
            && tracee::is_thread_of(tid, *pid)
        {
            return Some(*pid);
        }
        let pid = tracee::process_of(tid)?;
        threads.insert(tid, pid);
        Some(pid)
    }

    /// Ends waits: writes their results, then answers the calls. What those have taken that were interrupted goes to others.
    fn finish(&self, mut over: Vec<Completion>) {
        while let Some(completion) = over.pop() {
            if !self.has_finished(&completion)
                && let Some(pid) = self.process_of(completion.call.tid)
                && let Some(process) = self.machine().processes.get_mut(&pid)
            {
                over.extend(process.events.take_back(&completion));
            }
        }
    }

    /// Ends a wait; no where it was interrupted.
    fn has_finished(&self, completion: &Completion) -> bool {
        if !sys::is_waiting(&self.listener, completion.call.id) {
            return false;
        }
        let written = completion
            .writes
            .iter()
            .try_for_each(|(address, bytes)| tracee::write_memory(completion.call.tid, *address, bytes));
        let answer = written.map_or(Answer::Error(libc::EFAULT), |()| Answer::Value(0));
        self.reply_to_wait(&completion.call, answer)
    }
}

fn timeout(deadline: Option<Instant>) -> EpollTimeout {
    let Some(deadline) = deadline else {
        return EpollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    EpollTimeout::try_from(left.min(60_000) as u32).unwrap_or(EpollTimeout::ZERO)
}
