//! The topology as a container may see it: files of a node whose render node the device cgroup forbids can be opened,
//! and a read of them fails with EPERM, as kernel's `kfd_devcgroup_check_permission()` has it.
//!
//! Nothing stands between a caller and its reads but the kernel. So the caller gets a descriptor of an empty file on
//! which the supervisor has a fanotify mark, and is asked about each read: it denies all.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::grants::Grants;
use crate::model::GpuModel;
use crate::sys::{self, Answer, Call, GiveOptions};
use crate::tracee;

/// What answers opens of topology files.
#[derive(Debug)]
pub struct Topology {
    grants: Grants,
    nodes: Vec<u32>,
    unreadable: Option<Unreadable>,
}

impl Topology {
    /// For the GPUs of the node at `sysroot`.
    pub fn new(models: &[GpuModel], sysroot: &Path) -> Self {
        let render_nodes = models
            .iter()
            .map(|model| sysroot.join(format!("dev/dri/renderD{}", model.render_minor)));
        Self {
            grants: Grants::new(render_nodes.collect()),
            nodes: models.iter().map(|model| model.topology_node).collect(),
            unreadable: Unreadable::new().ok(),
        }
    }

    /// The answer to an open, with `flags`, of a file of topology node number `node`; None where it was given.
    pub fn open(&self, call: &Call, listener: &OwnedFd, (node, flags): (u32, i32)) -> Option<Answer> {
        let gpu = self.nodes.iter().position(|number| *number == node);
        if !gpu.is_some_and(|gpu| self.grants.forbid(call.tid, gpu)) {
            return Some(Answer::Continue);
        }
        // Kernels without permission events have no descriptor that opens and does not read.
        let Some(unreadable) = &self.unreadable else {
            return Some(Answer::Error(libc::EPERM));
        };
        let options = GiveOptions {
            answers: true,
            close_on_exec: flags & libc::O_CLOEXEC != 0,
        };
        let given = tracee::reopen_to_read(&unreadable.file)
            .and_then(|file| sys::give_file(listener, call.id, &file, options));
        given
            .err()
            .map(|error| Answer::Error(error.raw_os_error().unwrap_or(libc::EPERM)))
    }

    /// Readable when a caller waits for [`Self::deny`].
    pub fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.unreadable
            .as_ref()
            .map(|unreadable| unreadable.reads.as_fd())
    }

    /// Denies the reads that wait.
    pub fn deny(&self) {
        let reads = self.unreadable.as_ref().map(|unreadable| &unreadable.reads);
        for (reads, event) in reads.into_iter().flat_map(|reads| {
            let events = reads.read_events().unwrap_or_default();
            events.into_iter().map(move |event| (reads, event))
        }) {
            if let Some(file) = event.fd() {
                // The reader may have died meanwhile.
                let _gone = reads.write_response(FanotifyResponse::new(file, Response::FAN_DENY));
            }
        }
    }
}

/// A file that can be opened, and not read.
#[derive(Debug)]
struct Unreadable {
    file: File,
    reads: Fanotify,
}

impl Unreadable {
    fn new() -> nix::Result<Self> {
        let file = File::from(memfd_create(c"sdg-sim-unreadable", MFdFlags::MFD_CLOEXEC)?);
        let init = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let reads = Fanotify::init(init, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
        reads.mark(
            MarkFlags::FAN_MARK_ADD,
            MaskFlags::FAN_ACCESS_PERM,
            &file,
            Some(tracee::own_descriptor(&file).as_str()),
        )?;
        Ok(Self { file, reads })
    }
}
