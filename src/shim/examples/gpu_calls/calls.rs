//! From a line's words to a call.

use std::ffi::{CString, c_int, c_ulong};

use sdg_abi::{Plain, iowr};

use crate::{drm, kfd, rough};

/// A call's results, or the error number.
pub type Outcome = Result<Vec<u64>, i32>;

/// A number, decimal or with 0x.
pub fn number(word: &str) -> u64 {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => word.parse().unwrap(),
    }
}

/// Makes the call that the words name.
pub fn perform(words: &[&str]) -> Outcome {
    let (name, arguments) = words.split_first().unwrap();
    let n = |index: usize| number(arguments[index]);
    match *name {
        "open" => open(arguments[0]),
        "open-gpu" => open_gpu(arguments[0], arguments[1]),
        // SAFETY: the descriptors are the test's own.
        "close" => check(unsafe { libc::close(n(0) as c_int) }.into()),
        // SAFETY: as above.
        "dup" => check(unsafe { libc::dup(n(0) as c_int) }.into()),
        "map" => map(n(0) as usize),
        // SAFETY: the mapping is one that the test made.
        "unmap" => check(unsafe { libc::munmap(n(0) as *mut _, n(1) as usize) }.into()),
        "setenv" => setenv(arguments[0], arguments[1]),
        "bad-pointer" => ioctl_at(n(0), n(1) as u32, 8).map(|()| vec![]),
        "read-only-argument" => read_only_argument(n(0), n(1) as u32),
        "fork" => fork(arguments),
        "rough" => rough::perform_rough(arguments),
        "threads" => Ok(vec![std::fs::read_dir("/proc/self/task").unwrap().count() as u64]),
        name => kfd::perform(name, arguments)
            .or_else(|| drm::perform(name, arguments))
            .unwrap_or_else(|| {
                panic!("no call {name}");
            }),
    }
}

fn check(result: i64) -> Outcome {
    if result < 0 {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        Ok(vec![result as u64])
    }
}

fn open(path: &str) -> Outcome {
    let path = CString::new(path).unwrap();
    // SAFETY: a string that ends with a zero byte.
    check(i64::from(unsafe {
        libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC)
    }))
}

/// The KFD's descriptor, tied to a GPU.
fn open_gpu(gpu_id: &str, render_minor: &str) -> Outcome {
    let kfd = open("/dev/kfd")?;
    let render = open(&format!("/dev/dri/renderD{render_minor}"))?;
    let [of_kfd, of_render] = [&kfd, &render].map(|values| values[0].to_string());
    perform(&["acquire", &of_kfd, gpu_id, &of_render])?;
    Ok(kfd)
}

fn map(length: usize) -> Outcome {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping touches no other.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    check(address as i64)
}

fn setenv(name: &str, value: &str) -> Outcome {
    // SAFETY: this program has one thread, and the shim's looks at no environment.
    unsafe { std::env::set_var(name, value) };
    Ok(vec![])
}

/// An argument that can be read but not written.
fn read_only_argument(fd: u64, request: u32) -> Outcome {
    static ZERO: [u64; 64] = [0; 64];
    ioctl_at(fd, request, (&raw const ZERO) as usize).map(|()| vec![])
}

/// Makes the calls in a forked child; its result is the first of the last one's.
fn fork(arguments: &[&str]) -> Outcome {
    let mut ends = [0; 2];
    // SAFETY: this program has one thread, and the shim's holds no lock of libc's; the child writes its answer and leaves.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let pid = libc::fork();
        if pid == 0 {
            // Several calls, one after the other; `$` stands for the first result of the one before.
            let mut result: Outcome = Ok(vec![]);
            for call in arguments.split(|word| *word == ";") {
                let first = result
                    .clone()
                    .ok()
                    .and_then(|values| values.first().copied())
                    .unwrap_or(0)
                    .to_string();
                let words: Vec<&str> = call
                    .iter()
                    .map(|word| if *word == "$" { first.as_str() } else { word })
                    .collect();
                result = perform(&words);
            }
            let first = |values: Vec<u64>| values.first().map_or(0, |value| *value as i64);
            let answer = result.map_or_else(|errno| -i64::from(errno), first);
            libc::write(ends[1], (&raw const answer).cast(), 8);
            libc::_exit(0);
        }
        let mut answer = 0i64;
        libc::close(ends[1]);
        assert_eq!(libc::read(ends[0], (&raw mut answer).cast(), 8), 8);
        libc::close(ends[0]);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
        if answer < 0 {
            Err(-answer as i32)
        } else {
            Ok(vec![answer as u64])
        }
    }
}

/// `ioctl` through libc's symbol.
pub fn ioctl_at(fd: u64, request: u32, address: usize) -> Result<(), i32> {
    // SAFETY: the callers give an argument that fits the request, or mean it to be bad.
    let result = unsafe { libc::ioctl(fd as c_int, c_ulong::from(request), address) };
    if result < 0 {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        Ok(())
    }
}

/// How a request is to be worded, where not as usual: a `type=X`, `size=N` or `direction=N` among the words.
#[derive(Clone, Copy)]
pub struct Wording {
    kind: Option<u8>,
    size: Option<usize>,
    direction: Option<u32>,
}

impl Wording {
    /// From the words of a line.
    pub fn of(arguments: &[&str]) -> Self {
        let find = |key: &str| arguments.iter().find_map(|word| word.strip_prefix(key));
        Self {
            kind: find("type=").map(|text| text.as_bytes()[0]),
            size: find("size=").map(|text| number(text) as usize),
            direction: find("direction=").map(|text| number(text) as u32),
        }
    }

    /// Makes the call with the structure, of which as many bytes count as the request says.
    pub fn call<T: Plain>(self, fd: u64, (kind, nr): (u8, u32), argument: &mut T) -> Result<(), i32> {
        let size = self.size.unwrap_or(size_of::<T>());
        // On the heap, as a program may have it: the shim must not take every pointer for one into the stack.
        let mut bytes = argument.as_bytes().to_vec();
        bytes.resize(size.max(size_of::<T>()), 0);
        let request = iowr(self.kind.unwrap_or(kind), nr, size) & 0x3fff_ffff;
        let request = request | self.direction.unwrap_or(3) << 30;
        let result = ioctl_at(fd, request, bytes.as_mut_ptr() as usize);
        *argument = T::from_prefix(&bytes);
        result
    }
}
