//! `libsdg.so`: holds a process to its slice by interposing `ioctl`, and what would lead past that: `dlopen` and `dlmopen`.
//!
//! Preloaded into every process of a sliced container. It makes the system call itself, and so needs nothing to be set up
//! when it is loaded; it only tells the program of its slice then. What it does with the calls that matter is in
//! `sdg-shim-core`.
#![cfg_attr(panic = "abort", no_std)]

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_long, c_ulong, c_void};

use sdg_shim_core::loader;

/// Called by the loader before the program begins.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    sdg_shim_core::begin();
}

#[link(name = "c")]
unsafe extern "C" {
    safe fn __errno_location() -> *mut c_int;
}

/// `ioctl(2)`: a call that allocates GPU memory or concerns a compute queue is held to the slice, any other goes to the
/// kernel as it is.
///
/// # Safety
/// As for `ioctl` of libc: `arg` is what the device's driver expects.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // The kernel's parameter is an unsigned int: higher bits never reach a driver.
    let result = sdg_shim_core::ioctl(fd, request as u32, arg as usize);
    if result >= 0 {
        return result as c_int;
    }
    // SAFETY: libc gives the calling thread's errno, which is always there.
    unsafe { *__errno_location() = -result as c_int };
    -1
}

/// `dlopen(3)` without `RTLD_DEEPBIND`, with which a library would call libc's `ioctl`.
///
/// The loader looks for the library where the caller's own RUNPATH says, and knows the caller by the return address: it is
/// jumped to and not called.
///
/// # Safety
/// As for `dlopen` of libc.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {next}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "and esi, {kept}",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2:",
        "ret",
        next = sym next_dlopen,
        kept = const !loader::DEEP_BIND,
    )
}

/// `dlmopen(3)` likewise; a new namespace is one in which the shim is the first library.
///
/// # Safety
/// As for `dlmopen` of libc.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dlmopen(namespace: c_long, path: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        "push rdi",
        "push rsi",
        "push rdx",
        "cmp rdi, {new}",
        "jne 2f",
        "call {new_namespace}",
        "mov [rsp + 16], rax",
        "cmp rax, {new}",
        "je 3f",
        "2:",
        "call {next}",
        "test rax, rax",
        "jz 3f",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "and edx, {kept}",
        "jmp rax",
        "3:",
        "add rsp, 24",
        "xor eax, eax",
        "ret",
        new = const loader::NEW_NAMESPACE,
        new_namespace = sym loader::new_namespace,
        next = sym next_dlmopen,
        kept = const !loader::DEEP_BIND,
    )
}

extern "C" fn next_dlopen() -> *mut c_void {
    loader::DLOPEN.address()
}

extern "C" fn next_dlmopen() -> *mut c_void {
    loader::DLMOPEN.address()
}

#[cfg(panic = "abort")]
mod no_panic {
    unsafe extern "C" {
        /// Does not exist: see build.rs.
        safe fn sdg_shim_must_not_be_able_to_panic() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        sdg_shim_must_not_be_able_to_panic()
    }
}
