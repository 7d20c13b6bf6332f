//! /dev/kfd: from the number of a call to the method that serves it. Source: `kfd_ioctl()` in Linux, kfd_chardev.c.
//!
//! The kernel looks at the number alone, takes the argument's size and direction from its own table, copies as many
//! bytes as the caller's request word says and zeroes the rest. It copies back after failures, too.

use nix::errno::Errno;
use nix::time::ClockId;
use sdg_abi::kfd::{self, nr};

use super::args::Args;
use super::events::Completion;
use super::machine::Machine;
use super::{Refusal, refuse};
use crate::engine::{gpu_clock, nanoseconds};
use crate::tracee::Caller;

/// The kernel's side of a call: size of its argument, and whether it copies back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the kernel's structure.
    pub size: usize,
    /// The argument goes back to the caller.
    pub writes_back: bool,
}

/// What becomes of a call that succeeds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Waits that the call completes, of other threads.
    pub completed: Vec<Completion>,
    /// The caller itself waits: its answer comes later.
    pub waits: bool,
}

/// The kernel's side of call `number`; none for calls that are not simulated.
pub fn shape(number: u32) -> Option<Shape> {
    let (size, writes_back) = match number {
        nr::GET_VERSION | nr::DESTROY_QUEUE => (8, true),
        nr::CREATE_QUEUE => (96, true),
        nr::SET_MEMORY_POLICY => (32, false),
        nr::GET_CLOCK_COUNTERS | nr::GET_TILE_CONFIG | nr::ALLOC_MEMORY_OF_GPU => (40, true),
        nr::UPDATE_QUEUE | nr::SET_TRAP_HANDLER => (24, false),
        nr::CREATE_EVENT | nr::GET_DMABUF_INFO | nr::IPC_EXPORT_HANDLE => (32, true),
        nr::IPC_IMPORT_HANDLE => (48, true),
        nr::DESTROY_EVENT | nr::SET_EVENT | nr::RESET_EVENT | nr::ACQUIRE_VM | nr::FREE_MEMORY_OF_GPU => {
            (8, false)
        }
        nr::WAIT_EVENTS | nr::MAP_MEMORY_TO_GPU | nr::UNMAP_MEMORY_FROM_GPU | nr::IMPORT_DMABUF | nr::SVM => {
            (24, true)
        }
        nr::SET_SCRATCH_BACKING_VA | nr::GET_PROCESS_APERTURES_NEW | nr::AVAILABLE_MEMORY => (16, true),
        nr::EXPORT_DMABUF | nr::RUNTIME_ENABLE => (16, true),
        nr::SET_CU_MASK => (16, false),
        nr::SET_XNACK_MODE => (4, true),
        _ => return None,
    };
    Some(Shape { size, writes_back })
}

impl Machine {
    /// Serves a call of /dev/kfd.
    pub fn kfd_call(
        &mut self,
        caller: &Caller<'_>,
        number: u32,
        args: &mut Args,
    ) -> Result<Outcome, Refusal> {
        if (nr::CREATE_EVENT..=nr::WAIT_EVENTS).contains(&number) {
            return self.event_call(caller, number, args);
        }
        match number {
            nr::GET_VERSION => args.set(&kfd::GetVersion {
                major_version: kfd::VERSION_MAJOR,
                minor_version: kfd::VERSION_MINOR,
            }),
            nr::CREATE_QUEUE => self.create_queue(caller, args)?,
            nr::DESTROY_QUEUE => self.destroy_queue(caller, args)?,
            nr::UPDATE_QUEUE => self.update_queue(caller, args)?,
            nr::SET_CU_MASK => self.set_cu_mask(caller, args)?,
            nr::ACQUIRE_VM => self.acquire_vm(caller, args)?,
            nr::ALLOC_MEMORY_OF_GPU => self.alloc_memory(caller, args)?,
            nr::FREE_MEMORY_OF_GPU => self.free_memory(caller, args)?,
            nr::MAP_MEMORY_TO_GPU => self.map_memory(caller, args, true)?,
            nr::UNMAP_MEMORY_FROM_GPU => self.map_memory(caller, args, false)?,
            nr::AVAILABLE_MEMORY => self.available_memory(caller, args)?,
            nr::EXPORT_DMABUF => self.export_dmabuf(caller, args)?,
            nr::GET_DMABUF_INFO => self.dmabuf_info(caller, args)?,
            nr::IMPORT_DMABUF => self.import_dmabuf(caller, args)?,
            nr::IPC_EXPORT_HANDLE => self.ipc_export(caller, args)?,
            nr::IPC_IMPORT_HANDLE => self.ipc_import(caller, args)?,
            nr::SVM => self.svm(caller, args)?,
            _ => self.setup_call(caller, number, args)?,
        }
        Ok(Outcome::default())
    }

    fn event_call(&mut self, caller: &Caller<'_>, number: u32, args: &mut Args) -> Result<Outcome, Refusal> {
        let process = self.process(caller.pid)?;
        let event = args.u32(0);
        let completed = match number {
            nr::CREATE_EVENT => process.create_event(args).map(|()| Vec::new())?,
            nr::DESTROY_EVENT => process.destroy_event(caller, event)?,
            nr::SET_EVENT => process.set_event(caller, event)?,
            nr::RESET_EVENT => process.reset_event(event).map(|()| Vec::new())?,
            _ => {
                return Ok(Outcome {
                    completed: process.wait_events(caller, args)?,
                    waits: true,
                });
            }
        };
        Ok(Outcome {
            completed,
            waits: false,
        })
    }

    /// Calls that set a process up and have no effect here beyond their checks.
    fn setup_call(&mut self, caller: &Caller<'_>, number: u32, args: &mut Args) -> Result<(), Refusal> {
        match number {
            nr::SET_MEMORY_POLICY => {
                if args.u32(20) > 1 || args.u32(24) > 1 {
                    return Err(refuse(Errno::EINVAL, "a policy that is neither coherent nor not"));
                }
                self.gpu_index(args.u32(16)).map(drop)
            }
            nr::GET_CLOCK_COUNTERS => {
                // A gpu_id that there is not leaves the GPU's counter at 0.
                args.set_u64(
                    0,
                    if self.gpu_index(args.u32(32)).is_ok() {
                        gpu_clock()
                    } else {
                        0
                    },
                );
                args.set_u64(8, nanoseconds(ClockId::CLOCK_MONOTONIC_RAW));
                args.set_u64(16, nanoseconds(ClockId::CLOCK_BOOTTIME));
                args.set_u64(24, 1_000_000_000);
                Ok(())
            }
            nr::SET_SCRATCH_BACKING_VA => self.gpu_index(args.u32(8)).map(drop),
            nr::SET_TRAP_HANDLER => self.gpu_index(args.u32(16)).map(drop),
            nr::GET_TILE_CONFIG => {
                self.gpu_index(args.u32(24))?;
                // From gfx9 on there are no tables of tile modes.
                args.set_u32(16, 0);
                args.set_u32(20, 0);
                Ok(())
            }
            nr::GET_PROCESS_APERTURES_NEW => self.apertures(caller, args),
            nr::SET_XNACK_MODE => self.xnack_mode(caller, args),
            nr::RUNTIME_ENABLE => {
                args.set_u32(12, 0);
                Ok(())
            }
            _ => Err(refuse(Errno::ENOTTY, "the call is not simulated")),
        }
    }

    /// GET_PROCESS_APERTURES_NEW. Source: `kfd_init_apertures_v9()` in Linux, kfd_flat_memory.c.
    fn apertures(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        const LDS: u64 = 1 << 48;
        const SCRATCH: u64 = 2 << 48;
        const LIMIT: u64 = 0xffff_ffff;
        const VM_FIRST: u64 = 1 << 16;
        const VM_LAST: u64 = (1 << 47) - 1;
        let (pointer, room) = (args.u64(0), args.u32(8) as usize);
        let count = if room == 0 {
            self.gpus.len()
        } else {
            room.min(self.gpus.len())
        };
        args.set_u32(8, count as u32);
        if room == 0 {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for gpu in self.gpus.iter().take(count) {
            let addresses = [LDS, LDS | LIMIT, SCRATCH, SCRATCH | LIMIT, VM_FIRST, VM_LAST];
            bytes.extend(addresses.map(u64::to_le_bytes).concat());
            bytes.extend(u64::from(gpu.model.gpu_id).to_le_bytes());
        }
        caller.write(pointer, &bytes)
    }

    /// SET_XNACK_MODE: a negative mode asks. Retry faults are off, and cannot be turned on while queues exist.
    fn xnack_mode(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mode = args.u32(0).cast_signed();
        let can_retry = self
            .gpus
            .iter()
            .all(|gpu| (90_000..100_000).contains(&gpu.model.gfx) && gpu.model.gfx != 90_006);
        let process = self.process(caller.pid)?;
        match mode {
            i32::MIN..=-1 => args.set_u32(0, u32::from(process.retries_faults)),
            1.. if !can_retry => return Err(refuse(Errno::EPERM, "not every GPU can retry faults")),
            _ if !process.queues.is_empty() => return Err(refuse(Errno::EBUSY, "queues exist")),
            _ => process.retries_faults = mode > 0,
        }
        Ok(())
    }
}
