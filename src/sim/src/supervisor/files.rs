//! Opens of devices, and what fstat says of their descriptors.

use serde_json::json;

use super::Supervisor;
use crate::device::machine::Device;
use crate::opening::{self, Target};
use crate::sys::{self, Answer, Call, DeviceNode, GiveOptions};
use crate::tracee;

impl Supervisor {
    pub(super) fn open(&self, call: &Call) -> Option<Answer> {
        match opening::target_of(call, &self.numbers) {
            Some((Target::Device(number), flags)) => self.open_device(call, number, flags),
            Some((Target::TopologyNode(node), flags)) => {
                self.topology.open(call, &self.listener, (node, flags))
            }
            None => Some(Answer::Continue),
        }
    }

    /// An open of one of our devices gives the caller a descriptor of a memfd.
    fn open_device(&self, call: &Call, device_number: u64, flags: i32) -> Option<Answer> {
        let Some(pid) = self.process_of(call.tid) else {
            return Some(Answer::Continue);
        };
        let mut machine = self.machine();
        let device = match self.numbers.minor_of_render(device_number) {
            Some(minor) => match machine.gpu_of_minor(minor) {
                Some(gpu) => Device::Render(gpu),
                None => return Some(Answer::Continue),
            },
            None => Device::Kfd(pid),
        };
        let options = GiveOptions {
            answers: true,
            close_on_exec: flags & libc::O_CLOEXEC != 0,
        };
        let opened = self
            .admit(&mut machine, pid)
            .and_then(|()| tracee::reopen(machine.open(pid, device)?))
            .and_then(|file| {
                let fd = sys::give_file(&self.listener, call.id, &file, options)?;
                machine.note_given(pid, fd, (file, device));
                Ok(())
            });
        let gpu_id = match device {
            Device::Render(gpu) => machine.gpus.get(gpu).map(|gpu| gpu.model.gpu_id),
            Device::Kfd(_) => None,
        };
        drop(machine);
        self.log.write("open", || {
            let name = tracee::name_of(pid);
            json!({"pid": pid, "program": name, "device": if gpu_id.is_some() { "render" } else { "kfd" },
                   "gpu_id": gpu_id, "result": opened.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned())})
        });
        opened
            .err()
            .map(|error| Answer::Error(error.raw_os_error().unwrap_or(libc::ENOMEM)))
    }

    /// The status of a descriptor: argument `fd`; with a path argument only where the path is empty.
    pub(super) fn stat(&self, call: &Call, fd: usize, path: Option<usize>) -> Answer {
        let names_a_file = path.is_some_and(|path| {
            call.args[path] != 0
                && tracee::read_string(call.tid, call.args[path]).is_none_or(|path| !path.is_empty())
        });
        let device = if names_a_file {
            None
        } else {
            self.device_of(call.tid, call.args[fd])
        };
        let Some(device) = device else {
            return Answer::Continue;
        };
        let node = self.node_of(device);
        let (address, bytes) = match call.nr {
            libc::SYS_statx => (call.args[4], node.statx()),
            libc::SYS_newfstatat => (call.args[2], node.stat()),
            _ => (call.args[1], node.stat()),
        };
        match tracee::write_memory(call.tid, address, &bytes) {
            Ok(()) => Answer::Value(0),
            Err(_) => Answer::Error(libc::EFAULT),
        }
    }

    fn node_of(&self, device: Device) -> DeviceNode {
        let rdev = match device {
            Device::Kfd(_) => self.numbers.kfd,
            Device::Render(gpu) => {
                let minor = self
                    .machine()
                    .gpus
                    .get(gpu)
                    .map_or(0, |gpu| gpu.model.render_minor);
                self.numbers.render(minor)
            }
        };
        DeviceNode {
            rdev,
            inode: 1000 + (rdev & 0xffff),
            mode: 0o666,
        }
    }
}
