//! Calls from every side, and ends that wait for nobody: what a program does to a preloaded library without meaning to.

use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::calls::{Outcome, number, perform};

const MIB: &str = "1048576";
/// ALLOC's flags for writable VRAM.
const VRAM: &str = "0x80000001";
/// `queue_type` of AQL.
const AQL: &str = "2";

/// The KFD and the GPU that everything here is about; a word each, for handlers that are given nothing.
static KFD: AtomicU64 = AtomicU64::new(0);
static GPU: AtomicU64 = AtomicU64::new(0);
/// Queues that were made.
static QUEUES: AtomicU64 = AtomicU64::new(0);

/// `rough WAY KFD GPU-ID`.
pub fn perform_rough(arguments: &[&str]) -> Outcome {
    KFD.store(number(arguments[1]), Ordering::Relaxed);
    GPU.store(number(arguments[2]), Ordering::Relaxed);
    match arguments[0] {
        "threads" => begin_threads(),
        "handlers" => begin_handlers(),
        "signals" => begin_signals(),
        "children" => children(),
        "descriptors" => replace_descriptors(),
        "small-stack" => small_stack(),
        "no-memory" => no_memory(),
        way => panic!("no rough way {way}"),
    }
    Ok(vec![])
}

/// A call on the KFD and the GPU; it may fail, as it may in the kernel.
fn call(name: &str, rest: &[&str]) -> Option<String> {
    let [kfd, gpu] = [&KFD, &GPU].map(|word| word.load(Ordering::Relaxed).to_string());
    let mut words = vec![name, &kfd];
    match name {
        "free" | "destroy" | "mask" => {}
        _ => words.push(&gpu),
    }
    words.extend(rest);
    let values = perform(&words).ok()?;
    Some(values.first().copied().unwrap_or(0).to_string())
}

fn memory() {
    if let Some(handle) = call("alloc", &[MIB, VRAM]) {
        call("available", &[]);
        call("free", &[&handle]);
    }
}

fn queues() {
    if let Some(queue) = call("queue", &[AQL]) {
        QUEUES.fetch_add(1, Ordering::Relaxed);
        call("mask", &[&queue, "0xffff", "0xff"]);
        call("destroy", &[&queue]);
    }
}

/// A thread's last words: a call from the destructor of its own data.
struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        memory();
    }
}

thread_local! {
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

/// Threads that call without end, and threads that come and go; all are at it when this returns.
fn begin_threads() {
    for work in [memory, queues, memory] {
        thread::spawn(move || {
            loop {
                work();
            }
        });
    }
    thread::spawn(|| {
        loop {
            let short = || LAST_WORDS.set(Some(LastWords));
            let _ = thread::spawn(short).join();
        }
    });
    while QUEUES.load(Ordering::Relaxed) < 5 {
        thread::yield_now();
    }
}

/// Calls after `main` has returned.
fn begin_handlers() {
    extern "C" fn at_exit() {
        for _ in 0..5 {
            memory();
            queues();
        }
    }
    // SAFETY: a function that is there to the end.
    unsafe { libc::atexit(at_exit) };
}

/// A signal every half millisecond, which interrupts calls.
fn begin_signals() {
    extern "C" fn heed(_: c_int) {}
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: 500,
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: zero is an action without flags; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = heed as extern "C" fn(c_int) as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
}

/// Children of a program with many threads, which call and end by `exit`.
fn children() {
    for _ in 0..10 {
        // SAFETY: the child calls nothing that another thread's lock of libc could stop, but the handlers of `exit`.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                let mut argument = [0u64; 2];
                argument[1] = GPU.load(Ordering::Relaxed);
                libc::ioctl(
                    KFD.load(Ordering::Relaxed) as c_int,
                    0xc010_4b23,
                    &raw mut argument,
                );
                let fd = libc::open(c"/dev/kfd".as_ptr(), libc::O_RDWR);
                libc::ioctl(fd, 0xc010_4b23, &raw mut argument);
                libc::_exit(0);
            }
            let mut status = 0;
            libc::waitpid(pid, &raw mut status, 0);
            assert_eq!(status, 0, "the child's status");
        }
    }
}

/// The KFD's descriptor becomes one of something else, and of the KFD again, under those who use it.
fn replace_descriptors() {
    let kfd = KFD.load(Ordering::Relaxed) as c_int;
    // SAFETY: descriptors of this program, which may be of anything.
    unsafe {
        let spare = libc::dup(kfd);
        for path in [c"/dev/null", c"/dev/zero", c"/proc/self/status"].repeat(10) {
            let other = libc::open(path.as_ptr(), libc::O_RDONLY);
            libc::dup2(other, kfd);
            libc::close(other);
            libc::usleep(200);
            libc::close(kfd);
            libc::usleep(200);
            libc::dup2(spare, kfd);
            libc::usleep(200);
        }
    }
}

/// Every call from a thread with the smallest stack that there may be.
fn small_stack() {
    extern "C" fn calls(_: *mut libc::c_void) -> *mut libc::c_void {
        let [kfd, gpu] = [&KFD, &GPU].map(|word| word.load(Ordering::Relaxed));
        // ALLOC of a MiB, AVAILABLE, SVM of nothing, FREE of nothing, GEM_CREATE and AMDGPU_INFO of no render node.
        let mut argument = [0u64; 16];
        for request in [
            0xc028_4b16u64,
            0xc010_4b23,
            0xc018_4b20,
            0x4008_4b17,
            0xc020_6440,
            0x4020_6445,
        ] {
            argument.fill(0);
            match request {
                0xc028_4b16 => {
                    argument[..5].copy_from_slice(&[1 << 44, 1 << 20, 0, 0, 0x8000_0001 << 32 | gpu])
                }
                0xc010_4b23 => argument[1] = gpu,
                _ => {}
            }
            // SAFETY: the argument is larger than any of the requests says.
            unsafe { libc::ioctl(kfd as c_int, request, argument.as_mut_ptr()) };
        }
        std::ptr::null_mut()
    }
    // SAFETY: a thread that is joined; the attributes are its own.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        let mut thread: libc::pthread_t = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
        assert_eq!(
            libc::pthread_attr_setstacksize(&raw mut attributes, libc::PTHREAD_STACK_MIN),
            0
        );
        assert_eq!(
            libc::pthread_create(
                &raw mut thread,
                &raw const attributes,
                calls,
                std::ptr::null_mut()
            ),
            0
        );
        assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
    }
}

/// Calls where no memory can be mapped any more: those that need some are refused.
fn no_memory() {
    // SAFETY: plain values.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 1,
            rlim_max: libc::RLIM_INFINITY,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const none), 0);
        let mut argument = [
            1 << 44,
            1 << 20,
            0,
            0,
            0x8000_0001 << 32 | GPU.load(Ordering::Relaxed),
        ];
        let kfd = KFD.load(Ordering::Relaxed) as c_int;
        let result = libc::ioctl(kfd, 0xc028_4b16, &raw mut argument);
        let errno = *libc::__errno_location();
        let all = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const all), 0);
        assert_eq!((result, errno), (-1, libc::ENOMEM));
    }
}
