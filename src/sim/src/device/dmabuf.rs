//! Buffers passed between processes and between KFD and DRM as dma-bufs.
//!
//! A memfd stands for the dma-buf. It keeps its buffer alive while anybody has it open: inotify says when the last
//! descriptor of it is closed, and the buffer is let go then. Each export is a memfd of its own, so that one closing
//! stands for one export.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use sdg_abi::kfd::{ExportDmabuf, GetDmabufInfo, ImportDmabuf, alloc_flag};
use serde_json::json;

use super::args::Args;
use super::machine::Machine;
use super::memory::{Buffer, Place, memory_file};
use super::{Refusal, refuse};
use crate::tracee::{Caller, FileId, reopen};

#[derive(Debug)]
struct Dmabuf {
    /// Keeps the inode, whose number the dma-buf is known by.
    _inode: File,
    buffer: Arc<Buffer>,
    watch: WatchDescriptor,
}

/// The dma-bufs that are open somewhere.
#[derive(Debug)]
pub struct Dmabufs {
    closed: Inotify,
    open: HashMap<FileId, Dmabuf>,
}

impl Dmabufs {
    /// None yet.
    pub fn new() -> io::Result<Self> {
        let closed = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self {
            closed,
            open: HashMap::new(),
        })
    }

    /// The buffer of a dma-buf.
    pub fn buffer(&mut self, file: FileId) -> Option<Arc<Buffer>> {
        self.let_go();
        self.open.get(&file).map(|dmabuf| Arc::clone(&dmabuf.buffer))
    }

    /// Lets the buffers go whose dma-bufs were closed.
    pub fn let_go(&mut self) {
        if self.open.is_empty() {
            return;
        }
        while let Ok(events) = self.closed.read_events() {
            for event in events {
                self.open.retain(|_, dmabuf| dmabuf.watch != event.wd);
            }
        }
    }

    /// Gives the caller a descriptor for `buffer`.
    pub fn export(&mut self, caller: &Caller<'_>, buffer: &Arc<Buffer>) -> Result<u32, Refusal> {
        let failed = |error: io::Error| refuse(Errno::ENOMEM, format!("dma-buf: {error}"));
        let file = memory_file("sdg-sim-dmabuf", buffer.size).map_err(failed)?;
        let handed = reopen(&file).map_err(failed)?;
        let fd = caller.give(&handed)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = self.closed.add_watch(Path::new(&path), AddWatchFlags::IN_CLOSE);
        let watch = watch.map_err(|errno| failed(errno.into()))?;
        let id = FileId::of(&file).map_err(failed)?;
        self.open.insert(
            id,
            Dmabuf {
                _inode: file,
                buffer: Arc::clone(buffer),
                watch,
            },
        );
        Ok(fd)
    }
}

impl Machine {
    /// The buffer behind the caller's descriptor of a dma-buf.
    pub fn dmabuf_of(&mut self, caller: &Caller<'_>, fd: u32) -> Result<Arc<Buffer>, Refusal> {
        let file = caller.file_id(u64::from(fd));
        let buffer = file.and_then(|file| self.dmabufs.buffer(file));
        buffer.ok_or_else(|| {
            refuse(
                Errno::EINVAL,
                format!("descriptor {fd} is no dma-buf of a GPU here"),
            )
        })
    }

    /// EXPORT_DMABUF.
    pub fn export_dmabuf(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: ExportDmabuf = args.get();
        let process = self.process(caller.pid)?;
        let handle = process.buffer(call.handle);
        let handle = handle.ok_or_else(|| refuse(Errno::EINVAL, format!("no buffer {:#x}", call.handle)))?;
        let buffer = Arc::clone(&handle.buffer);
        if !matches!(buffer.place, Place::Vram | Place::Gtt) {
            return Err(refuse(
                Errno::EINVAL,
                "only memory of the driver's can be exported",
            ));
        }
        call.dmabuf_fd = self.dmabufs.export(caller, &buffer)?;
        args.set(&call);
        self.log.write(
            "export",
            || json!({"pid": caller.pid, "handle": call.handle, "size": buffer.size}),
        );
        Ok(())
    }

    /// GET_DMABUF_INFO.
    pub fn dmabuf_info(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: GetDmabufInfo = args.get();
        let buffer = self.dmabuf_of(caller, call.dmabuf_fd)?;
        call.size = buffer.size;
        let metadata = buffer.metadata();
        if call.metadata_ptr != 0 && !metadata.data.is_empty() {
            let room = metadata.data.len().min(call.metadata_size as usize);
            caller.write(call.metadata_ptr, metadata.data.get(..room).unwrap_or_default())?;
        }
        call.metadata_size = metadata.data.len() as u32;
        call.gpu_id = self.gpus.get(buffer.gpu).map_or(0, |gpu| gpu.model.gpu_id);
        call.flags = if buffer.place == Place::Vram {
            alloc_flag::VRAM
        } else {
            alloc_flag::GTT
        };
        args.set(&call);
        Ok(())
    }

    /// IMPORT_DMABUF: a handle for a buffer that exists; no memory is charged.
    pub fn import_dmabuf(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: ImportDmabuf = args.get();
        let gpu = self.gpu_index(call.gpu_id)?;
        let buffer = self.dmabuf_of(caller, call.dmabuf_fd)?;
        if buffer.gpu != gpu {
            return Err(refuse(
                Errno::EINVAL,
                format!("the dma-buf is not of GPU {}", call.gpu_id),
            ));
        }
        let size = buffer.size;
        call.handle = self.add_handle(caller.pid, buffer, (call.va_addr, 0))?;
        args.set(&call);
        let event = || json!({"pid": caller.pid, "gpu_id": call.gpu_id, "size": size, "handle": call.handle});
        self.log.write("import", event);
        Ok(())
    }
}
