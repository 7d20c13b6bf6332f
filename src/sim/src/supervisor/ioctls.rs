//! Ioctls on descriptors of devices: the way to the device's model and back.

use nix::errno::Errno;
use serde_json::json;

use super::Supervisor;
use super::interrupted::Served;
use crate::device::args::Args;
use crate::device::kfd_calls::{self, Shape};
use crate::device::machine::Device;
use crate::device::{Refusal, drm_calls, refuse};
use crate::sys::{Answer, Call};
use crate::tracee::Caller;

impl Supervisor {
    /// The answer to an ioctl; None where it was given, or comes later.
    pub(super) fn ioctl(&self, call: &Call) -> Option<Answer> {
        let Some(device) = self.device_of(call.tid, call.args[0]) else {
            return Some(Answer::Continue);
        };
        let request = call.args[1] as u32;
        let number = sdg_abi::ioc_nr(request);
        let result = match device {
            Device::Kfd(owner) => self.kfd(call, owner, number),
            Device::Render(gpu) => self.drm(call, gpu, number),
        };
        let refused = result.err()?;
        self.log.write("refused", || {
            json!({"pid": self.process_of(call.tid), "device": match device {
                       Device::Kfd(_) => "kfd", Device::Render(_) => "render" },
                   "request": format!("{request:#010x}"), "number": format!("{number:#04x}"),
                   "errno": format!("{:?}", refused.errno), "why": refused.why})
        });
        Some(Answer::Error(refused.errno as i32))
    }

    /// Serves a call of /dev/kfd, and answers it unless it is refused or waits.
    fn kfd(&self, call: &Call, owner: i32, number: u32) -> Result<(), Refusal> {
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
        let before = args.clone();
        let result = self.machine().kfd_call(&caller, number, &mut args);
        let Ok(outcome) = result else {
            // The kernel copies back after failures, too.
            if shape.writes_back {
                caller.write(call.args[2], given(call, &args))?;
            }
            return result.map(drop);
        };
        if outcome.waits {
            self.note_deadline();
        } else {
            self.answer(call, shape, (&before, &args));
        }
        self.finish(outcome.completed);
        Ok(())
    }

    /// Serves a call of a render node, and answers it unless it is refused.
    fn drm(&self, call: &Call, gpu: usize, number: u32) -> Result<(), Refusal> {
        let shape = drm_calls::shape(number);
        let shape = shape.ok_or_else(|| refuse(Errno::EINVAL, "the call is not simulated"))?;
        let gone = || refuse(Errno::ESRCH, "the caller is gone");
        let pid = self.process_of(call.tid).ok_or_else(gone)?;
        let caller = Caller::new(*call, pid, &self.listener);
        let mut args = self.read_args(&caller, shape)?;
        let before = args.clone();
        let mut machine = self.machine();
        // The descriptor may have come by fork or over a socket.
        self.admit(&mut machine, pid)
            .map_err(|error| refuse(Errno::ENOMEM, error.to_string()))?;
        machine.drm_call(&caller, (gpu, number), &mut args)?;
        drop(machine);
        self.answer(call, shape, (&before, &args));
        Ok(())
    }

    /// Answers a call that succeeded.
    fn answer(&self, call: &Call, shape: Shape, (before, after): (&Args, &Args)) {
        let after = if shape.writes_back { after } else { before };
        let served = Served {
            before: given(call, before).to_vec(),
            after: given(call, after).to_vec(),
            answer: Answer::Value(0),
        };
        self.conclude(call, served);
    }

    /// As many bytes as the request word says, in an argument that has at least the kernel's size.
    fn read_args(&self, caller: &Caller<'_>, shape: Shape) -> Result<Args, Refusal> {
        let size = sdg_abi::ioc_size(caller.call.args[1] as u32);
        let mut bytes = caller.read(caller.call.args[2], size)?;
        bytes.resize(size.max(shape.size), 0);
        Ok(Args(bytes))
    }
}

/// As much of an argument as the caller has.
fn given<'a>(call: &Call, args: &'a Args) -> &'a [u8] {
    let size = sdg_abi::ioc_size(call.args[1] as u32);
    args.0.get(..size).unwrap_or_default()
}
