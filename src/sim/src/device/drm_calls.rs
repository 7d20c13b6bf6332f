//! Render nodes: from the number of a call to the method that serves it. Source: Linux, drm_ioctl.c and amdgpu_kms.c.

use nix::errno::Errno;
use sdg_abi::drm::nr;

use super::args::Args;
use super::kfd_calls::Shape;
use super::machine::Machine;
use super::{Refusal, refuse};
use crate::tracee::Caller;

/// `DRM_AMDGPU_GEM_METADATA` and `DRM_AMDGPU_GEM_VA`, from `DRM_COMMAND_BASE` on.
const GEM_METADATA: u32 = 0x46;
const GEM_VA: u32 = 0x48;
/// What VERSION says: amdgpu's interface, its date and its description.
const VERSION: [u32; 3] = [3, 64, 0];
const TEXTS: [&str; 3] = ["amdgpu", "0", "AMD GPU"];

/// The kernel's side of call `number`; none for calls that are not simulated.
pub fn shape(number: u32) -> Option<Shape> {
    let (size, writes_back) = match number {
        nr::VERSION => (64, true),
        nr::GET_CLIENT => (40, true),
        nr::GEM_CLOSE => (8, false),
        nr::GET_CAP => (16, true),
        nr::PRIME_HANDLE_TO_FD | nr::PRIME_FD_TO_HANDLE => (12, true),
        nr::AMDGPU_GEM_CREATE => (32, true),
        nr::AMDGPU_GEM_MMAP => (8, true),
        nr::AMDGPU_INFO => (32, false),
        nr::AMDGPU_GEM_OP => (16, true),
        GEM_METADATA => (288, true),
        GEM_VA => (40, false),
        _ => return None,
    };
    Some(Shape { size, writes_back })
}

impl Machine {
    /// Serves a call of the render node of a GPU.
    pub fn drm_call(
        &mut self,
        caller: &Caller<'_>,
        (gpu, number): (usize, u32),
        args: &mut Args,
    ) -> Result<(), Refusal> {
        match number {
            nr::VERSION => version(caller, args),
            nr::GET_CLIENT => get_client(caller, args),
            nr::GET_CAP => get_cap(args),
            nr::GEM_CLOSE => self.gem_close(caller, gpu, args),
            nr::PRIME_HANDLE_TO_FD => self.prime_export(caller, gpu, args),
            nr::PRIME_FD_TO_HANDLE => self.prime_import(caller, gpu, args),
            nr::AMDGPU_GEM_CREATE => self.gem_create(caller, gpu, args),
            nr::AMDGPU_GEM_MMAP => self.gem_mmap(caller, gpu, args),
            nr::AMDGPU_GEM_OP => self.gem_op(caller, gpu, args),
            nr::AMDGPU_INFO => self.info(caller, gpu, args),
            GEM_METADATA => self.gem_metadata(caller, gpu, args),
            GEM_VA => self.gem_va(caller, gpu, args),
            _ => Err(refuse(Errno::EINVAL, "the call is not simulated")),
        }
    }
}

/// VERSION: `struct drm_version`. Each text is cut to the caller's room; its whole length is reported.
fn version(caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
    for (index, number) in VERSION.into_iter().enumerate() {
        args.set_u32(index * 4, number);
    }
    for (index, text) in TEXTS.into_iter().enumerate() {
        let at = 16 + index * 16;
        let (room, pointer) = (args.u64(at) as usize, args.u64(at + 8));
        let part = text.as_bytes().get(..room.min(text.len())).unwrap_or_default();
        if pointer != 0 && !part.is_empty() {
            caller.write(pointer, part)?;
        }
        args.set_u64(at, text.len() as u64);
    }
    Ok(())
}

/// GET_CLIENT: the one client that can be asked for is the caller itself.
fn get_client(caller: &Caller<'_>, args: &mut Args) -> Result<(), Refusal> {
    if args.u32(0) != 0 {
        return Err(refuse(Errno::EINVAL, format!("client {}", args.u32(0))));
    }
    args.set_u32(4, 1);
    args.set_u64(8, caller.pid as u64);
    Ok(())
}

/// GET_CAP: `DRM_CAP_PRIME` (import and export), `DRM_CAP_SYNCOBJ` and `DRM_CAP_SYNCOBJ_TIMELINE`.
fn get_cap(args: &mut Args) -> Result<(), Refusal> {
    let value = match args.u64(0) {
        0x5 => 3,
        0x6 | 0x13 | 0x14 => 1,
        0x1..=0x12 => 0,
        capability => return Err(refuse(Errno::EINVAL, format!("capability {capability:#x}"))),
    };
    args.set_u64(8, value);
    Ok(())
}
