//! What the devices see, as JSON: answered on a socket in the node's directory to whoever connects.

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::device::machine::Machine;
use crate::device::process::Process;
use crate::supervisor::Supervisor;
use crate::tracee;

/// The socket's name.
pub const SOCKET: &str = "status.sock";

/// Answers every connection with the state of that moment, on a thread of its own.
pub fn answer(supervisor: &Arc<Supervisor>, directory: &Path) -> io::Result<()> {
    let path = directory.join(SOCKET);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let socket = UnixListener::bind(&path)?;
    let supervisor: Weak<Supervisor> = Arc::downgrade(supervisor);
    thread::Builder::new().name("status".to_owned()).spawn(move || {
        for connection in socket.incoming().flatten() {
            let Some(supervisor) = supervisor.upgrade() else {
                return;
            };
            let text = describe(&mut supervisor.machine()).to_string();
            let _gone = (&connection).write_all(text.as_bytes());
        }
    })?;
    Ok(())
}

fn describe(machine: &mut Machine) -> Value {
    machine.settle_all();
    let gpus: Vec<Value> = machine
        .gpus
        .iter()
        .enumerate()
        .map(|(index, gpu)| {
            json!({
                "index": index, "gpu_id": gpu.model.gpu_id, "render_minor": gpu.model.render_minor,
                "memory_bytes": gpu.memory.total(), "used_bytes": gpu.memory.used(),
                "available_bytes": gpu.memory.available(), "compute_units": gpu.model.geometry.units(),
            })
        })
        .collect();
    let mut pids: Vec<&i32> = machine.processes.keys().collect();
    pids.sort_unstable();
    let processes: Vec<Value> = pids
        .into_iter()
        .filter_map(|pid| machine.processes.get(pid))
        .map(|process| describe_process(machine, process))
        .collect();
    json!({"gpus": gpus, "processes": processes})
}

fn describe_process(machine: &Machine, process: &Process) -> Value {
    let gpu_id = |index: usize| machine.gpus.get(index).map(|gpu| gpu.model.gpu_id);
    let memory: Vec<Value> = (0..machine.gpus.len())
        .map(|index| {
            json!({"gpu_id": gpu_id(index), "kfd_bytes": process.vram_on(index),
                   "drm_bytes": process.gem.vram_on(index)})
        })
        .collect();
    let queues: Vec<Value> = process
        .queues
        .iter()
        .map(|(id, queue)| {
            let is_compute = queue.kind.is_compute();
            json!({
                "id": id, "gpu_id": gpu_id(queue.gpu), "kind": queue.kind.name(), "mask": queue.mask,
                "units": is_compute.then(|| queue.reach.units()),
                "effective_units": is_compute.then(|| queue.reach.effective_units()),
                "uncovered_xccs": is_compute.then(|| queue.reach.uncovered()),
                "reached": is_compute.then_some(&queue.reach), "work": is_compute.then(|| queue.run.work()),
                "stopped": queue.run.why_stopped(),
            })
        })
        .collect();
    json!({"pid": process.pid, "program": tracee::name_of(process.pid), "memory": memory, "queues": queues})
}
