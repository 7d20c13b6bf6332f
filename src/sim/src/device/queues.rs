//! Queues: CREATE, DESTROY, UPDATE, SET_CU_MASK. Source: Linux, kfd_chardev.c, kfd_queue.c and
//! kfd_process_queue_manager.c.

use std::sync::{Arc, PoisonError};

use nix::errno::Errno;
use sdg_abi::kfd::{CreateQueue, DestroyQueue, SetCuMask, UpdateQueue, queue_type};
use serde_json::json;

use super::args::Args;
use super::machine::Machine;
use super::process::{DOORBELL_BYTES, DOORBELL_OFFSET, Process};
use super::{Refusal, refuse};
use crate::cu_map::{self, Geometry, MAX_MASK_BITS, Reach};
use crate::engine::load::GpuLoad;
use crate::engine::run::{Kind, QueueRun, Ring};
use crate::engine::{Engine, Interrupts};
use crate::model::{GpuModel, PAGE};
use crate::tracee::Caller;

/// `KFD_MAX_QUEUE_PERCENTAGE` and `KFD_MAX_QUEUE_PRIORITY`.
const MAX_PERCENTAGE: u32 = 100;
const MAX_PRIORITY: u32 = 15;
/// `KFD_MAX_NUM_OF_QUEUES_PER_PROCESS`.
const MAX_QUEUES: u32 = 1024;
/// Doorbells of 8 bytes in a process's slice.
const DOORBELLS: usize = DOORBELL_BYTES as usize / 8;

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// Index of the GPU.
    pub gpu: usize,
    /// What it takes.
    pub kind: Kind,
    /// The mask in force, lowest bits first; none for every unit.
    pub mask: Option<Vec<u32>>,
    /// The units that it reaches.
    pub reach: Reach,
    /// The part that the engine runs.
    pub run: Arc<QueueRun>,
}

impl Queue {
    /// Size of the ring in bytes.
    pub fn ring_size(&self) -> u64 {
        self.run.ring().size
    }
}

impl Machine {
    /// CREATE_QUEUE.
    pub fn create_queue(&mut self, caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
        let mut call: CreateQueue = args.get();
        check_shape(call.ring_size, call.queue_percentage, call.queue_priority)?;
        let gpu = self.gpu_index(call.gpu_id)?;
        let kind = Kind::of(call.queue_type)
            .ok_or_else(|| refuse(Errno::EOPNOTSUPP, format!("queue type {}", call.queue_type)))?;
        let model = self.gpus.get(gpu).map(|gpu| gpu.model.clone());
        let model = model.ok_or_else(|| refuse(Errno::EINVAL, "no such GPU"))?;
        let engines = model.property("num_sdma_engines") + model.property("num_sdma_xgmi_engines");
        if call.queue_type == queue_type::SDMA_BY_ENG_ID && u64::from(call.sdma_engine_id) >= engines {
            return Err(refuse(
                Errno::EINVAL,
                format!("SDMA engine {} of {engines}", call.sdma_engine_id),
            ));
        }
        let interrupts = Arc::clone(&self.interrupts);
        let load = self.gpus.get(gpu).map(|gpu| Arc::clone(&gpu.load));
        let load = load.ok_or_else(|| refuse(Errno::EINVAL, "no such GPU"))?;
        let process = self.process(caller.pid)?;
        if !process.acquired.contains(&gpu) {
            return Err(refuse(
                Errno::ESRCH,
                format!("no VM was acquired on GPU {}", call.gpu_id),
            ));
        }
        process.check_buffers(&call, kind, &model)?;
        process.start_engine(interrupts)?;
        let id = process.add_queue((gpu, kind), &call, (&model.geometry, load))?;
        call.queue_id = id.0;
        call.doorbell_offset = DOORBELL_OFFSET + gpu as u64 * DOORBELL_BYTES + id.1 as u64 * 8;
        args.set(&call);
        self.write_queues(caller.pid);
        self.log.write("queue", || {
            json!({"pid": caller.pid, "gpu_id": call.gpu_id, "queue": id.0, "kind": kind.name(),
                   "ring_bytes": call.ring_size, "units": model.geometry.units()})
        });
        Ok(())
    }

    /// DESTROY_QUEUE.
    pub fn destroy_queue(&mut self, caller: &Caller<'_>, args: &Args) -> Result<(), Refusal> {
        let DestroyQueue { queue_id, .. } = args.get();
        let process = self.process(caller.pid)?;
        let queue = process.queues.remove(&queue_id);
        let queue = queue.ok_or_else(|| refuse(Errno::EINVAL, format!("no queue {queue_id}")))?;
        queue.run.end();
        self.write_queues(caller.pid);
        self.log_end(caller.pid, queue_id, &queue);
        Ok(())
    }

    /// Logs what a queue that is gone came to.
    pub fn log_end(&self, pid: i32, id: u32, queue: &Queue) {
        self.log.write("queue_end", || {
            json!({"pid": pid, "queue": id, "effective_units": queue.reach.effective_units(),
                   "work": queue.run.work()})
        });
    }

    /// UPDATE_QUEUE. The mask stays.
    pub fn update_queue(&mut self, caller: &Caller<'_>, args: &Args) -> Result<(), Refusal> {
        let call: UpdateQueue = args.get();
        check_shape(call.ring_size, call.queue_percentage, call.queue_priority)?;
        let queue = self.process(caller.pid)?.queues.get(&call.queue_id);
        let queue = queue.ok_or_else(|| refuse(Errno::EFAULT, format!("no queue {}", call.queue_id)))?;
        let active = call.ring_base_address != 0 && call.ring_size != 0 && call.queue_percentage != 0;
        let base = if active {
            call.ring_base_address
        } else {
            queue.run.ring().base
        };
        let size = if active {
            u64::from(call.ring_size)
        } else {
            queue.run.ring().size
        };
        queue.run.update(Ring { base, size }, active);
        Ok(())
    }

    /// SET_CU_MASK.
    pub fn set_cu_mask(&mut self, caller: &Caller<'_>, args: &Args) -> Result<(), Refusal> {
        let call: SetCuMask = args.get();
        if call.num_cu_mask == 0 || !call.num_cu_mask.is_multiple_of(32) {
            let why = format!(
                "a mask of {} bits: a multiple of 32 is demanded",
                call.num_cu_mask
            );
            return Err(refuse(Errno::EINVAL, why));
        }
        let words = call.num_cu_mask.min(MAX_MASK_BITS) as usize / 32;
        let words = caller.read_words(call.cu_mask_ptr, words)?;
        let queue = self.process(caller.pid)?.queues.get(&call.queue_id);
        let gpu = queue.map(|queue| queue.gpu);
        let gpu = gpu.ok_or_else(|| refuse(Errno::EFAULT, format!("no queue {}", call.queue_id)))?;
        let Some(model) = self.gpus.get(gpu).map(|gpu| &gpu.model) else {
            return Ok(());
        };
        if model.geometry.paired && !cu_map::pairs_are_whole(&words) {
            return Err(refuse(Errno::EINVAL, "a mask with half a pair of units"));
        }
        let (reach, gpu_id) = (cu_map::map(&model.geometry, &words), model.gpu_id);
        self.log.write("mask", || {
            json!({"pid": caller.pid, "gpu_id": gpu_id, "queue": call.queue_id, "mask": words,
                   "units": reach.units(), "effective_units": reach.effective_units(),
                   "uncovered_xccs": reach.uncovered(), "reached": reach})
        });
        if let Some(queue) = self.process(caller.pid)?.queues.get_mut(&call.queue_id) {
            queue.run.set_units(reach.effective_units());
            queue.mask = Some(words);
            queue.reach = reach;
        }
        Ok(())
    }
}

impl Process {
    /// What `kfd_queue_acquire_buffers()` checks: ring, pointers, end-of-pipe buffer and save area are buffers of the
    /// process, of just the size that the GPU's geometry demands.
    fn check_buffers(&self, call: &CreateQueue, kind: Kind, model: &GpuModel) -> Result<(), Refusal> {
        self.check_buffer(call.write_pointer_address, PAGE, model.gpu_id, "write pointer")?;
        self.check_buffer(call.read_pointer_address, PAGE, model.gpu_id, "read pointer")?;
        let ring = u64::from(call.ring_size);
        self.check_buffer(call.ring_base_address, ring, model.gpu_id, "ring")?;
        if !kind.is_compute() {
            return Ok(());
        }
        let area = model.save_area();
        if call.eop_buffer_address != 0 {
            let (given, needed) = (call.eop_buffer_size, u64::from(area.eop));
            check_size("end-of-pipe buffer", given, needed, given == needed)?;
            self.check_buffer(
                call.eop_buffer_address,
                needed,
                model.gpu_id,
                "end-of-pipe buffer",
            )?;
        }
        let (given, needed) = (call.ctl_stack_size, area.ctl_stack);
        check_size("control stack", given.into(), needed.into(), given == needed)?;
        let (given, needed) = (call.ctx_save_restore_size, area.per_xcc);
        check_size("save area", given.into(), needed.into(), given >= needed)?;
        let total = (u64::from(given) + u64::from(area.debug)) * u64::from(model.geometry.xccs);
        let total = total.next_multiple_of(PAGE);
        let address = call.ctx_save_restore_address;
        self.check_buffer(address, total, model.gpu_id, "save area")
            .or_else(|refusal| {
                if self.svm.is_mapped(address, total, model.gpu_id) {
                    Ok(())
                } else {
                    Err(refusal)
                }
            })
    }

    /// A buffer of `size` bytes begins at the page of `address` and is mapped to the GPU.
    fn check_buffer(&self, address: u64, size: u64, gpu_id: u32, what: &str) -> Result<(), Refusal> {
        let page = address / PAGE * PAGE;
        let space = self.space.read().unwrap_or_else(PoisonError::into_inner);
        let found = space
            .find(page)
            .filter(|(_, region)| region.mapped.contains(&gpu_id));
        match found {
            Some((start, region)) if start == page && (size < PAGE || region.length == size) => Ok(()),
            Some((start, region)) => {
                let why = format!(
                    "{what} at {address:#x} of {size:#x} bytes is in a buffer at {start:#x} of {:#x}",
                    region.length
                );
                Err(refuse(Errno::EINVAL, why))
            }
            None => Err(refuse(
                Errno::EINVAL,
                format!("{what} at {address:#x} is in no buffer on the GPU"),
            )),
        }
    }

    fn start_engine(&mut self, interrupts: Arc<dyn Interrupts>) -> Result<(), Refusal> {
        if self.engine.is_none() {
            let engine = Engine::start(self.pid, Arc::clone(&self.space), interrupts);
            let failed = |error| refuse(Errno::ENOMEM, format!("no thread for the queues: {error}"));
            self.engine = Some(engine.map_err(failed)?);
        }
        Ok(())
    }

    /// Adds a queue. Returns its id and the number of its doorbell.
    fn add_queue(
        &mut self,
        (gpu, kind): (usize, Kind),
        call: &CreateQueue,
        (geometry, load): (&Geometry, Arc<GpuLoad>),
    ) -> Result<(u32, usize), Refusal> {
        let exhausted = || refuse(Errno::ENOMEM, "no queue is left");
        let id = (0..MAX_QUEUES)
            .find(|id| !self.queues.contains_key(id))
            .ok_or_else(exhausted)?;
        let taken = |slot: usize| {
            self.queues
                .values()
                .any(|q| q.gpu == gpu && q.run.doorbell == slot)
        };
        let doorbell = (0..DOORBELLS).find(|slot| !taken(*slot)).ok_or_else(exhausted)?;
        let failed = |error: std::io::Error| refuse(Errno::ENOMEM, format!("doorbells: {error}"));
        let doorbells = self.doorbells_on(gpu).map_err(failed)?;
        let ring = Ring {
            base: call.ring_base_address,
            size: u64::from(call.ring_size),
        };
        let reach = Reach::all(geometry);
        let run = QueueRun::new(kind, ring, call.read_pointer_address, (doorbells, doorbell), load);
        run.set_units(reach.effective_units());
        let run = Arc::new(run);
        if let Some(engine) = &self.engine {
            engine.add(Arc::clone(&run));
        }
        self.queues.insert(
            id,
            Queue {
                gpu,
                kind,
                mask: None,
                reach,
                run,
            },
        );
        Ok((id, doorbell))
    }
}

fn check_shape(ring_size: u32, percentage: u32, priority: u32) -> Result<(), Refusal> {
    // The kernel's upper bits of the percentage select a partial map of XCCs (`pm4_target_xcc`).
    if percentage & 0xff > MAX_PERCENTAGE {
        return Err(refuse(Errno::EINVAL, format!("queue percentage {percentage}")));
    }
    if priority > MAX_PRIORITY {
        return Err(refuse(Errno::EINVAL, format!("queue priority {priority}")));
    }
    if ring_size != 0 && !ring_size.is_power_of_two() {
        return Err(refuse(
            Errno::EINVAL,
            format!("ring of {ring_size} bytes: a power of two is demanded"),
        ));
    }
    Ok(())
}

fn check_size(what: &str, given: u64, needed: u64, fits: bool) -> Result<(), Refusal> {
    if fits {
        Ok(())
    } else {
        Err(refuse(
            Errno::EINVAL,
            format!("{what} of {given:#x} bytes, not {needed:#x}"),
        ))
    }
}
