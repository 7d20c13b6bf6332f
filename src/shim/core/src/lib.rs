//! What `libsdg.so` does with an ioctl. Everything but the exported symbol is here, so that tests and benchmarks can use it.
//!
//! A call whose number is none of a dozen goes straight to the kernel. Of the others, those that allocate VRAM are charged
//! to the slice's account before the kernel is asked; compute queues get the slice's mask; questions about memory are
//! answered for the slice. Memory of the program is read with care, nothing is allocated from the program's heap, and
//! nothing here can panic: `libsdg.so` does not link where the compiler cannot see that.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
pub mod array;
pub mod caller;
mod device;
pub mod environment;
mod gem;
mod info;
pub mod loader;
pub mod lock;
pub mod mask;
mod memory;
pub mod pages;
pub mod process;
pub mod queues;
pub mod ranges;
pub mod report;
mod svm;
pub mod sys;
pub mod table;
mod thread;
mod watcher;

use sdg_abi::{drm, ioc_nr, kfd};

use crate::pages::Paths;
use crate::process::Anchor;

/// The pages of the container.
static CONTAINER: Anchor = Anchor::new(Paths {
    limits: c"/run/sdg/limits",
    usage: c"/run/sdg/usage",
});

/// To be called once, before the program begins.
pub fn begin() {
    environment::tell(CONTAINER.paths().limits);
}

/// `FIGETBSZ`, which the kernel answers for any file before a driver sees it, has CREATE_QUEUE's number.
/// Source: Linux, `include/uapi/linux/fs.h`.
const FIGETBSZ: u32 = 2;

/// The call as the process is to see it: a result, or an error number negated.
///
/// The kernel's drivers heed a request's number and size, and neither its type byte (KFD) nor whether the size is the one
/// that they know: so numbers are matched here too, whatever stands beside them.
#[inline(always)]
pub fn ioctl(fd: i32, request: u32, address: usize) -> isize {
    match ioc_nr(request) {
        kfd::nr::CREATE_QUEUE
        | kfd::nr::DESTROY_QUEUE
        | kfd::nr::ALLOC_MEMORY_OF_GPU
        | kfd::nr::FREE_MEMORY_OF_GPU
        | kfd::nr::SET_CU_MASK
        | kfd::nr::SVM
        | kfd::nr::CRIU_OP
        | kfd::nr::AVAILABLE_MEMORY
        | kfd::nr::CREATE_PROCESS => perhaps_kfd(fd, request, address),
        drm::nr::GEM_CLOSE | drm::nr::AMDGPU_GEM_CREATE | drm::nr::AMDGPU_INFO | drm::nr::AMDGPU_GEM_OP => {
            perhaps_drm(fd, request, address)
        }
        _ => sys::ioctl(fd, request, address),
    }
}

// The functions behind it are not inlined: a frame that had room for all of them would push the caller's own frames out
// of what `caller` believes without asking the kernel.
#[cold]
#[inline(never)]
fn perhaps_kfd(fd: i32, request: u32, address: usize) -> isize {
    let anchor = &CONTAINER;
    let is_kfd = device::speaks_to_kfd(request)
        || request != FIGETBSZ && device::is_kfd(fd, || anchor.enter().ok()?.pages().limits.kfd_device());
    match ioc_nr(request) {
        _ if !is_kfd => sys::ioctl(fd, request, address),
        kfd::nr::CREATE_QUEUE => queues::create(anchor, fd, request, address),
        kfd::nr::DESTROY_QUEUE => queues::destroy(anchor, fd, request, address),
        kfd::nr::ALLOC_MEMORY_OF_GPU => memory::allocate(anchor, fd, request, address),
        kfd::nr::FREE_MEMORY_OF_GPU => memory::free(anchor, fd, request, address),
        kfd::nr::SET_CU_MASK => queues::set_cu_mask(anchor, fd, request, address),
        kfd::nr::SVM => svm::call(anchor, fd, request, address),
        kfd::nr::CRIU_OP => memory::checkpoint(fd, request, address),
        kfd::nr::AVAILABLE_MEMORY => memory::available(anchor, fd, request, address),
        kfd::nr::CREATE_PROCESS => memory::create_context(anchor, fd, request, address),
        _ => sys::ioctl(fd, request, address),
    }
}

#[cold]
#[inline(never)]
fn perhaps_drm(fd: i32, request: u32, address: usize) -> isize {
    let anchor = &CONTAINER;
    let Some(minor) = device::render_minor(fd) else {
        return sys::ioctl(fd, request, address);
    };
    let call = (fd, request, address);
    match ioc_nr(request) {
        drm::nr::AMDGPU_GEM_CREATE => gem::create(anchor, minor, call),
        drm::nr::AMDGPU_GEM_OP => gem::operate(anchor, minor, call),
        drm::nr::GEM_CLOSE => gem::close(anchor, minor, call),
        drm::nr::AMDGPU_INFO => info::query(anchor, minor, call),
        _ => sys::ioctl(fd, request, address),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_pages_are_where_the_host_puts_them() {
        let paths = super::CONTAINER.paths();
        assert_eq!(paths.limits.to_str(), Ok(sdg_abi::limits::CONTAINER_PATH));
        assert_eq!(paths.usage.to_str(), Ok(sdg_abi::usage::CONTAINER_PATH));
    }
}
