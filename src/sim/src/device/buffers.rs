//! The KFD's buffers: ALLOC, FREE, MAP, UNMAP, AVAILABLE, ACQUIRE_VM. Source: Linux, kfd_chardev.c and
//! amdgpu_amdkfd_gpuvm.c.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use nix::errno::Errno;
use sdg_abi::kfd::{AcquireVm, AllocMemory, AvailableMemory, FreeMemory, MapMemory, alloc_flag};
use serde_json::json;

use super::args::Args;
use super::machine::{Device, Machine};
use super::memory::{Buffer, Claimant, Place, whole_pages};
use super::process::{DOORBELL_BYTES, DOORBELL_OFFSET, Handle, REGISTERS_OFFSET};
use super::space::Region;
use super::{Refusal, refuse};
use crate::model::PAGE;
use crate::tracee::Caller;

impl Machine {
    /// ACQUIRE_VM: ties the process's VM on a GPU to its open render node.
    pub fn acquire_vm(&mut self, caller: &Caller<'_>, args: &Args) -> Result<(), Refusal> {
        let call: AcquireVm = args.get();
        let gpu = self.gpu_index(call.gpu_id)?;
        let file = caller.file_id(u64::from(call.drm_fd));
        if file.and_then(|file| self.device(file)) != Some(Device::Render(gpu)) {
            return Err(refuse(
                Errno::EINVAL,
                format!("descriptor {} is not that GPU's render node", call.drm_fd),
            ));
        }
        self.process(caller.pid)?.acquired.insert(gpu);
        Ok(())
    }

    /// AVAILABLE_MEMORY.
    pub fn available_memory(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: AvailableMemory = args.get();
        let gpu = self.gpu_index(call.gpu_id)?;
        self.settle(caller.pid);
        call.available = self.gpus.get(gpu).map_or(0, |gpu| gpu.memory.available());
        args.set(&call);
        Ok(())
    }

    /// Lets go what was released without a call to the device: by processes that are gone, closed dma-bufs, unmapped
    /// managed memory.
    fn settle(&mut self, pid: i32) {
        self.bury();
        self.dmabufs.let_go();
        if let Some(process) = self.processes.get_mut(&pid) {
            process.svm.prune(pid);
        }
    }

    /// Lets go what any process released without a call to the device.
    pub fn settle_all(&mut self) {
        let pids: Vec<i32> = self.processes.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.settle(pid));
    }

    /// ALLOC_MEMORY_OF_GPU.
    pub fn alloc_memory(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: AllocMemory = args.get();
        let result = self.try_alloc(caller.pid, &mut call);
        args.set(&call);
        self.log.write("alloc", || {
            json!({
                "pid": caller.pid, "gpu_id": call.gpu_id, "size": call.size, "flags": call.flags,
                "vram": call.flags & alloc_flag::VRAM != 0, "handle": call.handle,
                "result": result.as_ref().err().map_or("ok".to_owned(), |refusal| refusal.errno.to_string()),
            })
        });
        result
    }

    fn try_alloc(&mut self, pid: i32, call: &mut AllocMemory) -> Result<(), Refusal> {
        if call.size == 0 {
            return Err(refuse(Errno::EINVAL, "size 0"));
        }
        let gpu = self.gpu_index(call.gpu_id)?;
        if !self.process(pid)?.acquired.contains(&gpu) {
            return Err(refuse(
                Errno::EINVAL,
                format!("no VM was acquired on GPU {}", call.gpu_id),
            ));
        }
        let (size, place) = what_is_asked(call)?;
        let memory = self.gpus.get(gpu).map(|gpu| Arc::clone(&gpu.memory));
        let memory = memory.ok_or_else(|| refuse(Errno::EINVAL, "no such GPU"))?;
        let place_buffer = || Buffer::new((gpu, &memory), (size, place), Claimant::Kfd);
        let buffer = place_buffer().or_else(|_| {
            self.settle(pid);
            place_buffer()
        });
        let buffer = buffer.map_err(|used_up| {
            refuse(
                Errno::ENOMEM,
                format!("{size} bytes asked, {} available", used_up.available),
            )
        })?;
        call.mmap_offset = match place {
            Place::User(address) => address,
            Place::Device if call.flags & alloc_flag::DOORBELL != 0 => {
                DOORBELL_OFFSET + gpu as u64 * DOORBELL_BYTES
            }
            Place::Device => REGISTERS_OFFSET + gpu as u64 * PAGE,
            Place::Vram | Place::Gtt => buffer.offset,
        };
        let charge = buffer.vram();
        call.handle = self.add_handle(pid, Arc::new(buffer), (call.va_addr, charge))?;
        Ok(())
    }

    /// A handle of a process for `buffer`, at an address and charged with bytes of VRAM.
    pub fn add_handle(
        &mut self,
        pid: i32,
        buffer: Arc<Buffer>,
        (address, charged): (u64, u64),
    ) -> Result<u64, Refusal> {
        let gpu = buffer.gpu;
        let gpu_id = self.gpus.get(gpu).map_or(0, |gpu| gpu.model.gpu_id);
        let process = self.process(pid)?;
        let number = process.last_handle.entry(gpu).or_insert(0);
        *number += 1;
        let handle = u64::from(gpu_id) << 32 | *number;
        let region = Region {
            length: buffer.size,
            buffer: Arc::clone(&buffer),
            skip: 0,
            mapped: BTreeSet::new(),
        };
        process
            .space
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address, region);
        if let Some(vram) = process.vram.get_mut(gpu) {
            *vram += charged;
        }
        process.handles.insert(
            handle,
            Handle {
                buffer,
                address,
                charged,
            },
        );
        self.write_figures(pid, gpu);
        Ok(handle)
    }

    /// FREE_MEMORY_OF_GPU.
    pub fn free_memory(&mut self, caller: &Caller<'_>, args: &Args) -> Result<(), Refusal> {
        let FreeMemory { handle } = args.get();
        self.gpu_index((handle >> 32) as u32)?;
        let process = self.process(caller.pid)?;
        let known = process.handles.get(&handle);
        let known = known.ok_or_else(|| refuse(Errno::EINVAL, format!("no buffer {handle:#x}")))?;
        let (address, gpu) = (known.address, known.buffer.gpu);
        let mut space = process.space.write().unwrap_or_else(PoisonError::into_inner);
        let own = space
            .at_mut(address)
            .filter(|region| Arc::ptr_eq(&region.buffer, &known.buffer));
        match own {
            Some(region) if !region.mapped.is_empty() => {
                return Err(refuse(
                    Errno::EBUSY,
                    format!("buffer {handle:#x} is still mapped"),
                ));
            }
            Some(_) => drop(space.remove(address)),
            None => {}
        }
        drop(space);
        let freed = process.handles.remove(&handle);
        let (size, charged) = freed.map_or((0, 0), |freed| (freed.buffer.size, freed.charged));
        if let Some(vram) = process.vram.get_mut(gpu) {
            *vram = vram.saturating_sub(charged);
        }
        self.write_figures(caller.pid, gpu);
        let event = || json!({"pid": caller.pid, "handle": handle, "size": size, "vram": charged > 0});
        self.log.write("free", event);
        Ok(())
    }

    /// MAP_MEMORY_TO_GPU and UNMAP_MEMORY_FROM_GPU.
    pub fn map_memory(&mut self, caller: &Caller<'_>, args: &mut Args, map: bool) -> Result<(), Refusal> {
        let mut call: MapMemory = args.get();
        if call.n_devices == 0 || call.n_success > call.n_devices || call.n_devices > 1024 {
            return Err(refuse(
                Errno::EINVAL,
                format!("{} devices, {} done", call.n_devices, call.n_success),
            ));
        }
        self.gpu_index((call.handle >> 32) as u32)?;
        let gpu_ids = caller.read_words(call.device_ids_array_ptr, call.n_devices as usize)?;
        let unknown = if map { Errno::ENOMEM } else { Errno::ENODEV };
        for gpu_id in gpu_ids.iter().skip(call.n_success as usize) {
            let gpu = self.gpu_index(*gpu_id)?;
            let process = self.process(caller.pid)?;
            if !process.acquired.contains(&gpu) {
                return Err(refuse(
                    Errno::EINVAL,
                    format!("no VM was acquired on GPU {gpu_id}"),
                ));
            }
            let handle = process.handles.get(&call.handle);
            let address = handle.map(|handle| handle.address);
            let address = address.ok_or_else(|| refuse(unknown, format!("no buffer {:#x}", call.handle)))?;
            let mut space = process.space.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(region) = space.at_mut(address) {
                if map {
                    region.mapped.insert(*gpu_id)
                } else {
                    region.mapped.remove(gpu_id)
                };
            }
            call.n_success += 1;
            args.set(&call);
        }
        Ok(())
    }
}

/// Size and place of what ALLOC asks for.
fn what_is_asked(call: &AllocMemory) -> Result<(u64, Place), Refusal> {
    let has = |flag| call.flags & flag != 0;
    let size = whole_pages(call.size);
    if has(alloc_flag::VRAM) {
        let halved = if has(alloc_flag::AQL_QUEUE_MEM) {
            size / 2
        } else {
            size
        };
        return Ok((halved, Place::Vram));
    }
    if has(alloc_flag::GTT) {
        let halved = if has(alloc_flag::AQL_QUEUE_MEM) {
            size / 2
        } else {
            size
        };
        return Ok((halved, Place::Gtt));
    }
    if has(alloc_flag::USERPTR) {
        return match call.mmap_offset % PAGE {
            0 if call.mmap_offset != 0 => Ok((size, Place::User(call.mmap_offset))),
            _ => Err(refuse(
                Errno::EINVAL,
                format!("user address {:#x}", call.mmap_offset),
            )),
        };
    }
    match (has(alloc_flag::DOORBELL), has(alloc_flag::MMIO_REMAP), call.size) {
        (true, _, DOORBELL_BYTES) | (false, true, PAGE) => Ok((size, Place::Device)),
        (true, ..) => Err(refuse(Errno::EINVAL, format!("doorbells of {} bytes", call.size))),
        (_, true, _) => Err(refuse(Errno::EINVAL, format!("registers of {} bytes", call.size))),
        _ => Err(refuse(
            Errno::EINVAL,
            format!("flags {:#x} name no place", call.flags),
        )),
    }
}
