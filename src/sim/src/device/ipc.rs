//! Buffers passed between processes by a name: the calls of AMD's packaged driver that hipIpc makes up to ROCm 6.4.
//! Later releases pass dma-bufs instead.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};

use nix::errno::Errno;
use sdg_abi::kfd::{IpcExportHandle, IpcImportHandle, alloc_flag};
use serde_json::json;

use super::args::Args;
use super::machine::Machine;
use super::memory::{Buffer, Place};
use super::{Refusal, refuse};
use crate::tracee::Caller;

/// What a buffer is called by the processes that share it: a number that cannot be guessed.
type Name = [u32; 4];

/// The names that were given out. A name means nothing once its buffer is gone.
#[derive(Debug, Default)]
pub struct Shared {
    named: HashMap<Name, Weak<Buffer>>,
    random: RandomState,
}

impl Shared {
    /// The buffer's name: the one that it has, or else a new one.
    fn name(&mut self, buffer: &Arc<Buffer>) -> Name {
        self.named.retain(|_, named| named.strong_count() > 0);
        let known = self
            .named
            .iter()
            .find(|(_, named)| named.as_ptr() == Arc::as_ptr(buffer));
        if let Some((name, _)) = known {
            return *name;
        }
        let (low, high) = (
            self.random.hash_one((0, self.named.len())),
            RandomState::new().hash_one(1),
        );
        let name = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
        self.named.insert(name, Arc::downgrade(buffer));
        name
    }

    fn buffer(&self, name: Name) -> Option<Arc<Buffer>> {
        self.named.get(&name).and_then(Weak::upgrade)
    }
}

impl Machine {
    /// IPC_EXPORT_HANDLE: a name for a buffer of the caller's.
    pub fn ipc_export(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: IpcExportHandle = args.get();
        self.gpu_index(call.gpu_id)?;
        let buffer = self
            .process(caller.pid)?
            .buffer(call.handle)
            .map(|handle| Arc::clone(&handle.buffer));
        let buffer = buffer.ok_or_else(|| refuse(Errno::EINVAL, format!("no buffer {:#x}", call.handle)))?;
        if !matches!(buffer.place, Place::Vram | Place::Gtt) {
            return Err(refuse(Errno::EINVAL, "only memory of the driver's can be shared"));
        }
        call.share_handle = self.shared.name(&buffer);
        args.set(&call);
        let event = || json!({"pid": caller.pid, "handle": call.handle, "size": buffer.size});
        self.log.write("export", event);
        Ok(())
    }

    /// IPC_IMPORT_HANDLE: a handle for the buffer of a name; no memory is charged.
    pub fn ipc_import(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: IpcImportHandle = args.get();
        self.gpu_index(call.gpu_id)?;
        let buffer = self.shared.buffer(call.share_handle);
        let buffer = buffer.ok_or_else(|| refuse(Errno::EINVAL, "no buffer has that name"))?;
        let size = buffer.size;
        call.mmap_offset = buffer.offset;
        call.flags = if buffer.place == Place::Vram {
            alloc_flag::VRAM
        } else {
            alloc_flag::GTT
        };
        call.handle = self.add_handle(caller.pid, buffer, (call.va_addr, 0))?;
        args.set(&call);
        let event = || json!({"pid": caller.pid, "gpu_id": call.gpu_id, "size": size, "handle": call.handle});
        self.log.write("import", event);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::{Claimant, GpuMemory};

    #[test]
    fn a_name_finds_its_buffer_as_long_as_that_lives() {
        let memory = Arc::new(GpuMemory::new("test", 1 << 30).unwrap());
        let buffer = || Arc::new(Buffer::new((0, &memory), (4096, Place::Vram), Claimant::Kfd).unwrap());
        let (first, second) = (buffer(), buffer());
        let mut shared = Shared::default();
        let name = shared.name(&first);
        assert_eq!(shared.name(&first), name);
        assert_ne!(shared.name(&second), name);
        assert!(
            shared
                .buffer(name)
                .is_some_and(|found| Arc::ptr_eq(&found, &first))
        );
        drop(first);
        assert!(shared.buffer(name).is_none());
    }
}
