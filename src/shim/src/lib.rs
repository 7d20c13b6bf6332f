//! `libsdg.so`: holds a process to its slice by interposing `ioctl`.
//!
//! Preloaded into every process of a sliced container. It exports `ioctl` alone, makes the system call itself, and so
//! needs nothing to be set up when it is loaded. What it does with the calls that matter is in `sdg-shim-core`.
#![cfg_attr(panic = "abort", no_std)]

use core::ffi::{c_int, c_ulong, c_void};

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
