//! A thread of the shim's own, made by clone(2) itself and not by `pthread_create`:
//! - until glibc 2.33 that function is in a library which a program need not have loaded;
//! - it calls the program's allocator, and leaves the stack's size to the program's settings;
//! - glibc counts its threads: a program whose `main` ends by `pthread_exit` would never end beside one that stays.
//!
//! What libc does not know of it cannot expect anything of it. So the thread
//! - has every signal blocked, those that libc sends to its own threads too;
//! - has a thread pointer of its own, at zeros: nothing that it calls uses thread-local data, and if something did, it
//!   would not be another thread's;
//! - gives up its capabilities at once: a later `setuid` of the program does not reach it (libc tells only the threads
//!   that it knows), and what is left is a user id that cannot be changed back into anything;
//! - ends with the process, by `exit_group` or `execve`, and is not there in a forked child, nor is its stack.

use core::arch::asm;

use sdg_abi::words::MODELLED;

use crate::sys::{self, Inheritance, Mapping, nr};

/// Stack and thread pointer's block; only pages that are touched exist.
const ROOM: usize = 64 << 10;
const GUARD: usize = 4096;
/// Bytes at the thread pointer: a thread control block's words that are used without one's knowing (its own address,
/// the stack protector's value) are among them.
const CONTROL_BLOCK: usize = 256;

/// `CLONE_VM`, `CLONE_FS`, `CLONE_FILES`, `CLONE_SIGHAND`, `CLONE_THREAD`, `CLONE_SYSVSEM`, `CLONE_SETTLS`.
/// Source: Linux, `include/uapi/linux/sched.h`.
const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x8_0000;

/// What a thread runs; it never returns.
pub type Entry = extern "C" fn(usize) -> !;

/// Starts a thread.
pub fn start(entry: Entry, argument: usize) -> Result<(), isize> {
    if MODELLED {
        // Such a thread is not one of the model's.
        return Err(sys::errno::EAGAIN);
    }
    let bottom = sys::map(Mapping::Anonymous, ROOM, Inheritance::Absent)?;
    let control_block = bottom as usize + ROOM - CONTROL_BLOCK;
    // SAFETY: within the new mapping, aligned. The first and the third word of a control block hold its own address.
    unsafe {
        for word in [0, 2] {
            (control_block as *mut usize).add(word).write(control_block);
        }
    }
    // SAFETY: the new mapping's first page, to which nothing points yet.
    let mut result = unsafe { sys::call(nr::MPROTECT, [bottom as usize, GUARD, 0, 0, 0, 0]) };
    if result == 0 {
        let signals = block_signals();
        // SAFETY: the stack ends below the control block and is the new thread's alone.
        result = unsafe { clone(control_block, entry, argument) };
        restore_signals(signals);
    }
    if result < 0 {
        // SAFETY: mapped above; there is no thread that uses it.
        unsafe { sys::unmap(bottom, ROOM) };
        return Err(-result);
    }
    Ok(())
}

/// # Safety
/// `control_block` is aligned to 16 bytes, readable, and the end of memory that can be the thread's stack.
unsafe fn clone(control_block: usize, entry: Entry, argument: usize) -> isize {
    let result;
    // SAFETY: the x86-64 system call convention. The new thread begins behind the system call with the registers as
    // they are, but for its stack and a result of zero, and leaves this code for `entry` for good.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") nr::CLONE => result,
            in("rdi") FLAGS, in("rsi") control_block, in("rdx") 0, in("r10") 0, in("r8") control_block,
            in("r12") entry, in("r13") argument,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// `SIG_SETMASK`. Source: Linux, `include/uapi/asm-generic/signal-defs.h`.
const SIG_SETMASK: usize = 2;

/// Blocks every signal in this thread; a thread that it starts begins so too.
fn block_signals() -> u64 {
    let (all, mut before) = (u64::MAX, 0u64);
    let arguments = [
        SIG_SETMASK,
        (&raw const all) as usize,
        (&raw mut before) as usize,
        8,
        0,
        0,
    ];
    // SAFETY: two signal sets of eight bytes.
    unsafe { sys::call(nr::RT_SIGPROCMASK, arguments) };
    before
}

fn restore_signals(signals: u64) {
    let arguments = [SIG_SETMASK, (&raw const signals) as usize, 0, 8, 0, 0];
    // SAFETY: a signal set of eight bytes.
    unsafe { sys::call(nr::RT_SIGPROCMASK, arguments) };
}

/// Gives up every capability of the calling thread.
pub fn drop_capabilities() {
    // struct __user_cap_header_struct: _LINUX_CAPABILITY_VERSION_3, and zero for the calling thread; then two of
    // struct __user_cap_data_struct. Source: Linux, `include/uapi/linux/capability.h`.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: structures of the kernel's sizes.
    unsafe {
        sys::call(
            nr::CAPSET,
            [
                (&raw const header) as usize,
                (&raw const none) as usize,
                0,
                0,
                0,
                0,
            ],
        )
    };
}

/// Names the calling thread, for people who list a process's threads.
pub fn name(name: &core::ffi::CStr) {
    /// Source: Linux, `include/uapi/linux/prctl.h`.
    const PR_SET_NAME: usize = 15;
    // SAFETY: a string that ends with a zero byte.
    unsafe { sys::call(nr::PRCTL, [PR_SET_NAME, name.as_ptr() as usize, 0, 0, 0, 0]) };
}
