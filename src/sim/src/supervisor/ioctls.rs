//! Ioctls on descriptors of devices: the way to the device's model and back.

use nix::errno::Errno;
use serde_json::json;

use super::Supervisor;
use crate::device::args::Args;
use crate::device::kfd_calls::{self, Outcome, Shape};
use crate::device::machine::Device;
use crate::device::{Refusal, drm_calls, refuse};
use crate::sys::{Answer, Call};
use crate::tracee::Caller;

impl Supervisor {
    pub(super) fn ioctl(&self, call: &Call) -> Option<Answer> {
        let Some(device) = self.device_of(call.tid, call.args[0]) else {
            return Some(Answer::Continue);
        };
        let request = call.args[1] as u32;
        let number = sdg_abi::ioc_nr(request);
        let served = match device {
            Device::Kfd(owner) => self.kfd(call, owner, number),
            Device::Render(gpu) => self.drm(call, gpu, number),
        };
        match served {
            Ok(outcome) => {
                outcome
                    .completed
                    .iter()
                    .for_each(|completion| self.finish(completion));
                if outcome.waits {
                    self.note_deadline();
                    None
                } else {
                    Some(Answer::Value(0))
                }
            }
            Err(refusal) => {
                self.log.write("refused", || {
                    json!({"pid": self.process_of(call.tid), "device": match device {
                               Device::Kfd(_) => "kfd", Device::Render(_) => "render" },
                           "request": format!("{request:#010x}"), "number": format!("{number:#04x}"),
                           "errno": format!("{:?}", refusal.errno), "why": refusal.why})
                });
                Some(Answer::Error(refusal.errno as i32))
            }
        }
    }

    fn kfd(&self, call: &Call, owner: i32, number: u32) -> Result<Outcome, Refusal> {
        if self.process_of(call.tid) != Some(owner) {
            return Err(refuse(
                Errno::EBADF,
                format!("process {owner} opened this descriptor"),
            ));
        }
        let shape = kfd_calls::shape(number);
        let shape = shape.ok_or_else(|| refuse(Errno::ENOTTY, "the call is not simulated"))?;
        let caller = Caller::new(*call, owner, &self.listener);
        let mut args = self.read_args(&caller, shape)?;
        let result = self.machine().kfd_call(&caller, number, &mut args);
        if shape.writes_back && !result.as_ref().is_ok_and(|outcome| outcome.waits) {
            self.write_back(&caller, &args)?;
        }
        result
    }

    fn drm(&self, call: &Call, gpu: usize, number: u32) -> Result<Outcome, Refusal> {
        let shape = drm_calls::shape(number);
        let shape = shape.ok_or_else(|| refuse(Errno::EINVAL, "the call is not simulated"))?;
        let gone = || refuse(Errno::ESRCH, "the caller is gone");
        let pid = self.process_of(call.tid).ok_or_else(gone)?;
        let caller = Caller::new(*call, pid, &self.listener);
        let mut args = self.read_args(&caller, shape)?;
        let mut machine = self.machine();
        // The descriptor may have come by fork or over a socket.
        self.admit(&mut machine, pid)
            .map_err(|error| refuse(Errno::ENOMEM, error.to_string()))?;
        machine.drm_call(&caller, (gpu, number), &mut args)?;
        drop(machine);
        if shape.writes_back {
            self.write_back(&caller, &args)?;
        }
        Ok(Outcome::default())
    }

    /// As many bytes as the request word says, in an argument that has at least the kernel's size.
    fn read_args(&self, caller: &Caller<'_>, shape: Shape) -> Result<Args, Refusal> {
        let size = sdg_abi::ioc_size(caller.call.args[1] as u32);
        let mut bytes = caller.read(caller.call.args[2], size)?;
        bytes.resize(size.max(shape.size), 0);
        Ok(Args(bytes))
    }

    fn write_back(&self, caller: &Caller<'_>, args: &Args) -> Result<(), Refusal> {
        let size = sdg_abi::ioc_size(caller.call.args[1] as u32);
        match args.0.get(..size) {
            Some(bytes) if !bytes.is_empty() => caller.write(caller.call.args[2], bytes),
            _ => Ok(()),
        }
    }
}
