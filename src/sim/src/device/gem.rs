//! DRM's buffers (GEM) of a render node. Source: Linux, amdgpu_gem.c.
//!
//! Handles are a process's own on each GPU: two descriptors of one render node in one process share them, which DRM
//! would keep apart.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use nix::errno::Errno;
use sdg_abi::drm::{GemClose, GemCreate, GemOp, domain, gem_op};
use serde_json::json;

use super::args::Args;
use super::machine::Machine;
use super::memory::{Buffer, Claimant, Metadata, Place, whole_pages};
use super::space::Region;
use super::{Refusal, refuse};
use crate::tracee::Caller;

/// `AMDGPU_VA_OP_*` of GEM_VA.
const VA_MAP: u32 = 1;
const VA_UNMAP: u32 = 2;
const VA_CLEAR: u32 = 3;
const VA_REPLACE: u32 = 4;

#[derive(Debug)]
struct GemObject {
    buffer: Arc<Buffer>,
    domains: u64,
    /// VRAM that SET_PLACEMENT reserved for a buffer which is elsewhere.
    placement: Option<Arc<Buffer>>,
}

/// A process's buffers of DRM, by GPU and handle.
#[derive(Debug, Default)]
pub struct GemObjects {
    objects: HashMap<(usize, u32), GemObject>,
    last: u32,
}

impl GemObjects {
    /// Bytes of VRAM that the buffers take on a GPU.
    pub fn vram_on(&self, gpu: usize) -> u64 {
        let own = self
            .objects
            .iter()
            .filter(|((of, _), _)| *of == gpu)
            .map(|(_, object)| object);
        own.map(|object| object.buffer.vram() + object.placement.as_ref().map_or(0, |b| b.vram()))
            .sum()
    }

    fn add(&mut self, gpu: usize, buffer: Arc<Buffer>, domains: u64) -> u32 {
        self.last += 1;
        self.objects.insert(
            (gpu, self.last),
            GemObject {
                buffer,
                domains,
                placement: None,
            },
        );
        self.last
    }

    fn find(&mut self, gpu: usize, handle: u32) -> Result<&mut GemObject, Refusal> {
        self.objects
            .get_mut(&(gpu, handle))
            .ok_or_else(|| refuse(Errno::ENOENT, format!("no GEM handle {handle}")))
    }
}

impl Machine {
    /// GEM_CREATE. Where VRAM is used up the buffer goes to system memory, as in the kernel.
    pub fn gem_create(&mut self, caller: &Caller<'_>, gpu: usize, args: &mut Args) -> Result<(), Refusal> {
        let call: GemCreate = args.get();
        let known = domain::CPU | domain::GTT | domain::VRAM;
        if call.bo_size == 0 || call.domains & !known != 0 || call.domains & known == 0 {
            let why = format!(
                "a buffer of {} bytes in the domains {:#x}",
                call.bo_size, call.domains
            );
            return Err(refuse(Errno::EINVAL, why));
        }
        let memory = self.gpus.get(gpu).map(|gpu| Arc::clone(&gpu.memory));
        let memory = memory.ok_or_else(|| refuse(Errno::EINVAL, "no such GPU"))?;
        let size = whole_pages(call.bo_size);
        let make = |place| Buffer::new((gpu, &memory), (size, place), Claimant::Drm);
        let wanted = if call.domains & domain::VRAM != 0 {
            make(Place::Vram)
        } else {
            make(Place::Gtt)
        };
        let buffer = wanted.or_else(|_| make(Place::Gtt));
        let buffer = buffer.map_err(|_| refuse(Errno::ENOMEM, format!("{size} bytes asked")))?;
        let vram = buffer.vram();
        let handle = self
            .process(caller.pid)?
            .gem
            .add(gpu, Arc::new(buffer), call.domains);
        args.set_u32(0, handle);
        args.set_u32(4, 0);
        self.write_figures(caller.pid, gpu);
        self.log.write(
            "gem_create",
            || json!({"pid": caller.pid, "gpu": gpu, "size": size, "domains": call.domains, "vram": vram}),
        );
        Ok(())
    }

    /// GEM_MMAP: the offset for mmap on the render node.
    pub fn gem_mmap(&mut self, caller: &Caller<'_>, gpu: usize, args: &mut Args) -> Result<(), Refusal> {
        let offset = self
            .process(caller.pid)?
            .gem
            .find(gpu, args.u32(0))?
            .buffer
            .offset;
        args.set_u64(0, offset);
        Ok(())
    }

    /// GEM_CLOSE.
    pub fn gem_close(&mut self, caller: &Caller<'_>, gpu: usize, args: &Args) -> Result<(), Refusal> {
        let GemClose { handle, .. } = args.get();
        let gone = self.process(caller.pid)?.gem.objects.remove(&(gpu, handle));
        let gone = gone.ok_or_else(|| refuse(Errno::EINVAL, format!("no GEM handle {handle}")))?;
        let size = gone.buffer.size;
        drop(gone);
        self.write_figures(caller.pid, gpu);
        self.log.write(
            "gem_close",
            || json!({"pid": caller.pid, "gpu": gpu, "size": size}),
        );
        Ok(())
    }

    /// GEM_OP.
    pub fn gem_op(&mut self, caller: &Caller<'_>, gpu: usize, args: &Args) -> Result<(), Refusal> {
        let call: GemOp = args.get();
        let object = self.process(caller.pid)?.gem.find(gpu, call.handle)?;
        match call.op {
            gem_op::GET_GEM_CREATE_INFO => {
                let info = [object.buffer.size, 4096, object.domains, 0];
                caller.write(call.value, &info.map(u64::to_le_bytes).concat())
            }
            gem_op::SET_PLACEMENT => {
                let wants_vram = call.value & domain::VRAM != 0 && object.buffer.vram() == 0;
                let claim = (object.buffer.size, Place::Vram);
                let place = || Buffer::new((gpu, &object.buffer.memory), claim, Claimant::Drm);
                object.placement = if wants_vram {
                    place().ok().map(Arc::new)
                } else {
                    None
                };
                object.domains = call.value;
                self.write_figures(caller.pid, gpu);
                Ok(())
            }
            op => Err(refuse(Errno::EINVAL, format!("GEM_OP {op}"))),
        }
    }

    /// GEM_VA: a buffer at an address of the process's VM.
    pub fn gem_va(&mut self, caller: &Caller<'_>, gpu: usize, args: &Args) -> Result<(), Refusal> {
        let (handle, operation) = (args.u32(0), args.u32(8));
        let (address, skip, length) = (args.u64(16), args.u64(24), args.u64(32));
        let gpu_id = self.gpus.get(gpu).map_or(0, |gpu| gpu.model.gpu_id);
        let process = self.process(caller.pid)?;
        let space = Arc::clone(&process.space);
        let mut space = space.write().unwrap_or_else(PoisonError::into_inner);
        match operation {
            VA_MAP | VA_REPLACE => {
                let buffer = Arc::clone(&process.gem.find(gpu, handle)?.buffer);
                if length == 0 || skip.saturating_add(length) > buffer.size {
                    return Err(refuse(
                        Errno::EINVAL,
                        format!("{length:#x} bytes from {skip:#x} of a buffer"),
                    ));
                }
                let mapped = BTreeSet::from([gpu_id]);
                space.insert(
                    address,
                    Region {
                        length,
                        buffer,
                        skip,
                        mapped,
                    },
                );
                Ok(())
            }
            VA_UNMAP | VA_CLEAR => match space.remove(address) {
                None if operation == VA_UNMAP => Err(refuse(
                    Errno::ENOENT,
                    format!("nothing is mapped at {address:#x}"),
                )),
                _ => Ok(()),
            },
            _ => Err(refuse(Errno::EINVAL, format!("GEM_VA operation {operation}"))),
        }
    }

    /// GEM_METADATA: `struct drm_amdgpu_gem_metadata`.
    pub fn gem_metadata(&mut self, caller: &Caller<'_>, gpu: usize, args: &mut Args) -> Result<(), Refusal> {
        const SET: u32 = 1;
        const GET: u32 = 2;
        const DATA: usize = 28;
        const MOST: usize = 256;
        let buffer = Arc::clone(&self.process(caller.pid)?.gem.find(gpu, args.u32(0))?.buffer);
        match args.u32(4) {
            SET => {
                let size = args.u32(24) as usize;
                let data = args.0.get(DATA..DATA + size).filter(|_| size <= MOST);
                let data = data.ok_or_else(|| refuse(Errno::EINVAL, format!("metadata of {size} bytes")))?;
                let (flags, tiling) = (args.u64(8), args.u64(16));
                buffer.set_metadata(Metadata {
                    flags,
                    tiling,
                    data: data.to_vec(),
                });
                Ok(())
            }
            GET => {
                let metadata = buffer.metadata();
                args.set_u64(8, metadata.flags);
                args.set_u64(16, metadata.tiling);
                args.set_u32(24, metadata.data.len() as u32);
                args.set_bytes(DATA, &metadata.data);
                Ok(())
            }
            operation => Err(refuse(Errno::EINVAL, format!("GEM_METADATA {operation}"))),
        }
    }

    /// PRIME_HANDLE_TO_FD.
    pub fn prime_export(&mut self, caller: &Caller<'_>, gpu: usize, args: &mut Args) -> Result<(), Refusal> {
        let buffer = Arc::clone(&self.process(caller.pid)?.gem.find(gpu, args.u32(0))?.buffer);
        let fd = self.dmabufs.export(caller, &buffer)?;
        args.set_u32(8, fd);
        Ok(())
    }

    /// PRIME_FD_TO_HANDLE.
    pub fn prime_import(&mut self, caller: &Caller<'_>, gpu: usize, args: &mut Args) -> Result<(), Refusal> {
        let buffer = self.dmabuf_of(caller, args.u32(8))?;
        let domains = if buffer.place == Place::Vram {
            domain::VRAM
        } else {
            domain::GTT
        };
        let gem = &mut self.process(caller.pid)?.gem;
        let same = |(key, object): (&(usize, u32), &GemObject)| {
            (key.0 == gpu && Arc::ptr_eq(&object.buffer, &buffer)).then_some(key.1)
        };
        let known = gem.objects.iter().find_map(same);
        let handle = known.unwrap_or_else(|| gem.add(gpu, Arc::clone(&buffer), domains));
        args.set_u32(0, handle);
        Ok(())
    }
}
