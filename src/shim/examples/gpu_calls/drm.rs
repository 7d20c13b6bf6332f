//! Calls of a render node.

use sdg_abi::drm::{GemClose, GemCreate, GemOp, IOCTL_TYPE, Info, gem_op, nr};
use sdg_abi::{Plain, iowr};

use crate::calls::{Outcome, Wording, ioctl_at, number};

const fn drm(number: u32) -> (u8, u32) {
    (IOCTL_TYPE, number)
}

/// Makes a call of a render node; `None` where the name is of none.
pub fn perform(name: &str, arguments: &[&str]) -> Option<Outcome> {
    let n = |index: usize| number(arguments[index]);
    let wording = Wording::of(arguments);
    Some(match name {
        "gem" => {
            let mut call = GemCreate {
                bo_size: n(1),
                alignment: 4096,
                domains: n(2),
                domain_flags: 0,
            };
            wording
                .call(n(0), drm(nr::AMDGPU_GEM_CREATE), &mut call)
                .map(|()| vec![call.bo_size & 0xffff_ffff])
        }
        "gem-place" => {
            let mut call = GemOp {
                handle: n(1) as u32,
                op: gem_op::SET_PLACEMENT,
                value: n(2),
            };
            wording
                .call(n(0), drm(nr::AMDGPU_GEM_OP), &mut call)
                .map(|()| vec![])
        }
        "gem-close" => {
            let mut call = GemClose {
                handle: n(1) as u32,
                pad: 0,
            };
            wording.call(n(0), drm(nr::GEM_CLOSE), &mut call).map(|()| vec![])
        }
        "info" => info(n(0), n(1) as u32, n(2) as u32),
        _ => return None,
    })
}

/// AMDGPU_INFO: the answer's `size` bytes as words of 64 bits.
fn info(fd: u64, query: u32, size: u32) -> Outcome {
    let mut answer = vec![0u64; size.div_ceil(8) as usize];
    let head = Info {
        return_pointer: answer.as_mut_ptr() as u64,
        return_size: size,
        query,
    };
    // struct drm_amdgpu_info has 16 bytes more, for the query's own arguments.
    let mut bytes = [head.as_bytes(), &[0; 16]].concat();
    ioctl_at(
        fd,
        iowr(IOCTL_TYPE, nr::AMDGPU_INFO, bytes.len()),
        bytes.as_mut_ptr() as usize,
    )
    .map(|()| answer)
}
