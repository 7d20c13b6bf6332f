//! The devices: what /dev/kfd and the render nodes answer.
//!
//! A call's bytes come in from the supervisor, go to the method that its number names, and come out changed, or as
//! a [`Refusal`] with the errno of the kernel's. State: [`machine::Machine`] holds the GPUs' memory and the
//! processes; a [`process::Process`] holds buffers, address space, queues and events, as `struct kfd_process` does.

pub mod args;
pub mod buffers;
pub mod dmabuf;
pub mod drm_calls;
pub mod drm_info;
pub mod events;
pub mod gem;
pub mod ipc;
pub mod kfd_calls;
pub mod machine;
pub mod memory;
pub mod process;
pub mod queues;
pub mod space;
pub mod svm;

use nix::errno::Errno;

/// A call that fails, with the reason for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller gets.
    pub errno: Errno,
    /// Why.
    pub why: String,
}

/// A refusal.
pub fn refuse(errno: Errno, why: impl Into<String>) -> Refusal {
    Refusal {
        errno,
        why: why.into(),
    }
}
