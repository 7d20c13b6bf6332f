//! DRM buffers in VRAM: what graphics and video libraries allocate past the KFD.

use sdg_abi::drm::{GemClose, GemCreate, GemOp, domain, gem_op};
use sdg_abi::{drm, iowr};

use crate::array::Array;
use crate::caller::Argument;
use crate::device;
use crate::memory::whole_pages;
use crate::process::{Anchor, Process};
use crate::sys::{self, Access, File, errno};
use crate::table::{Charge, Key};

/// GEM_CREATE on the render node with this minor number.
pub fn create(anchor: &Anchor, minor: u32, (fd, request, address): (i32, u32, usize)) -> isize {
    let Some(mut argument) = Argument::read_drm::<GemCreate>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let GemCreate { bo_size, domains, .. } = *argument.view();
    if domains & domain::VRAM == 0 {
        return sys::ioctl(fd, request, address);
    }
    let Some(process) = anchor.enter_or_refuse() else {
        return -errno::ENOMEM;
    };
    // Another maker's GPU, given to the container beside the slice.
    let Some(gpu) = process.pages().limits.index_of_render_minor(minor) else {
        return sys::ioctl(fd, request, address);
    };
    let charge = Charge {
        gpu,
        bytes: whole_pages(bo_size),
    };
    process.charge_gem(charge, || {
        let result = argument.call(fd);
        // The answer begins with the handle, in 32 bits.
        let handle = argument.view::<GemCreate>().bo_size & 0xffff_ffff;
        let result = argument.give_back(result);
        (
            result,
            Key {
                space: space(fd, minor),
                handle,
            },
        )
    })
}

/// GEM_OP: SET_PLACEMENT may bring a buffer into VRAM. One that is already charged stays so: a placement elsewhere moves
/// nothing until the buffer is next used.
pub fn operate(anchor: &Anchor, minor: u32, (fd, request, address): (i32, u32, usize)) -> isize {
    let Some(mut argument) = Argument::read_drm::<GemOp>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let GemOp { handle, op, value } = *argument.view();
    if op != gem_op::SET_PLACEMENT || value & domain::VRAM == 0 {
        return sys::ioctl(fd, request, address);
    }
    let Some(process) = anchor.enter_or_refuse() else {
        return -errno::ENOMEM;
    };
    let Some(gpu) = process.pages().limits.index_of_render_minor(minor) else {
        return sys::ioctl(fd, request, address);
    };
    let key = Key {
        space: space(fd, minor),
        handle: handle.into(),
    };
    let is_charged = process.gem.lock().get(key).is_some();
    match size_outside_vram(fd, handle).filter(|_| !is_charged) {
        Some(size) => process.charge_gem(
            Charge {
                gpu,
                bytes: whole_pages(size),
            },
            || {
                let result = argument.call(fd);
                (argument.give_back(result), key)
            },
        ),
        None => {
            let result = argument.call(fd);
            argument.give_back(result)
        }
    }
}

/// GEM_CLOSE. As with FREE, the buffer leaves the table before its handle can be given again.
pub fn close(anchor: &Anchor, minor: u32, (fd, request, address): (i32, u32, usize)) -> isize {
    let Some(process) = anchor.existing().filter(|process| !process.gem.lock().is_empty()) else {
        return sys::ioctl(fd, request, address);
    };
    let Some(mut argument) = Argument::read_drm::<GemClose>(request, address) else {
        return sys::ioctl(fd, request, address);
    };
    let handle = argument.view::<GemClose>().handle.into();
    if !process.gem.lock().has_handle(handle) {
        let result = argument.call(fd);
        return argument.give_back(result);
    }
    let key = Key {
        space: space(fd, minor),
        handle,
    };
    let taken = process.gem.lock().take(key);
    let result = argument.call(fd);
    if let Some(charge) = taken {
        if result == 0 {
            process.gem.lock().withdraw();
            process.release(charge.gpu, charge.bytes);
        } else {
            process.gem.lock().insert(key, charge);
        }
    }
    argument.give_back(result)
}

/// Bytes of a buffer that has no place in VRAM yet.
fn size_outside_vram(fd: i32, handle: u32) -> Option<u64> {
    let mut made = GemCreate {
        bo_size: 0,
        alignment: 0,
        domains: 0,
        domain_flags: 0,
    };
    let mut query = GemOp {
        handle,
        op: gem_op::GET_GEM_CREATE_INFO,
        value: (&raw mut made) as u64,
    };
    let request = iowr(drm::IOCTL_TYPE, drm::nr::AMDGPU_GEM_OP, size_of::<GemOp>());
    let result = sys::ioctl_with(fd, request, &mut query);
    // SAFETY: `made` is this function's own; the kernel may have written it behind the compiler's back.
    let made = unsafe { core::ptr::read_volatile(&raw const made) };
    (result == 0 && made.domains & domain::VRAM == 0).then_some(made.bo_size)
}

impl Process {
    /// Charges a buffer, lets `call` make it, and takes the charge back if that fails.
    fn charge_gem(&self, charge: Charge, call: impl FnOnce() -> (isize, Key)) -> isize {
        self.keep_up();
        if !self.reserve(charge.gpu, charge.bytes) {
            return -errno::ENOMEM;
        }
        if !self.gem.lock().promise() {
            self.release(charge.gpu, charge.bytes);
            return -errno::ENOMEM;
        }
        let (result, key) = call();
        let mut table = self.gem.lock();
        let gone = if result == 0 {
            table.insert(key, charge)
        } else {
            table.withdraw();
            Some(charge)
        };
        drop(table);
        if let Some(gone) = gone {
            self.release(gone.gpu, gone.bytes);
        }
        result
    }

    /// Takes back the charges of buffers whose render node has been closed.
    pub(crate) fn reclaim_gem(&self) {
        let Some(mut table) = self.gem.try_lock() else {
            return;
        };
        if table.is_empty() {
            return;
        }
        let mut open = Array::new();
        if each_descriptor(|fd| match device::render_minor(fd) {
            Some(minor) => open.push(space(fd, minor)),
            None => true,
        }) {
            let gone = |charge: Charge| self.release(charge.gpu, charge.bytes);
            table.retain_spaces(|space| open.as_slice().contains(&space), gone);
        }
    }
}

/// Names the open file behind a descriptor: handles are the file's, whatever descriptor it is reached by. The kernel's
/// `drm-client-id` does so exactly (Linux 5.19 and later); before it the descriptor's number must do.
fn space(fd: i32, minor: u32) -> u64 {
    const BY_NUMBER: u64 = 1 << 63;
    let minor = u64::from(minor) << 40;
    client_id(fd).map_or(BY_NUMBER | minor | fd as u64, |client| {
        minor | (client & 0xff_ffff_ffff)
    })
}

fn client_id(fd: i32) -> Option<u64> {
    const FIELD: &[u8] = b"drm-client-id:";
    let mut path = *b"/proc/self/fdinfo/\0\0\0\0\0\0\0\0\0\0\0";
    let mut divisor = 1_000_000_000;
    while divisor > 1 && fd < divisor {
        divisor /= 10;
    }
    for place in path.iter_mut().skip(b"/proc/self/fdinfo/".len()) {
        if divisor == 0 {
            break;
        }
        *place = b'0' + (fd / divisor % 10) as u8;
        divisor /= 10;
    }
    let path = core::ffi::CStr::from_bytes_until_nul(&path).ok()?;
    let file = File::open(path, Access::Read).ok()?;
    let mut text = [0; 1024];
    let length = file.read(&mut text).ok()?;
    let line = text
        .get(..length)?
        .split(|byte| *byte == b'\n')
        .find(|line| line.starts_with(FIELD))?;
    let digits = line
        .get(FIELD.len()..)?
        .iter()
        .filter_map(|byte| (*byte as char).to_digit(10));
    Some(digits.fold(0, |number: u64, digit| {
        number.wrapping_mul(10).wrapping_add(digit.into())
    }))
}

/// Calls `visit` for every open descriptor; whether all were seen.
fn each_descriptor(mut visit: impl FnMut(i32) -> bool) -> bool {
    let Ok(directory) = File::open(c"/proc/self/fd", Access::Read) else {
        return false;
    };
    let mut buffer = [0; 4096];
    loop {
        let mut rest = match directory.read_directory(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => buffer.get(..count).unwrap_or(&[]),
            Err(_) => return false,
        };
        // struct linux_dirent64: inode and offset in 16 bytes, the record's length in two, the type in one, the name.
        while let [_, .., _] = rest
            && let Some(length) = rest
                .get(16..18)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u16::from_ne_bytes)
            && let Some(name) = rest.get(19..length as usize)
        {
            let mut number = None;
            for digit in name.iter().take_while(|byte| **byte != 0) {
                number = (*digit as char)
                    .to_digit(10)
                    .map(|digit| number.unwrap_or(0) * 10 + digit as i32);
            }
            if let Some(fd) = number.filter(|fd| *fd != directory.fd())
                && !visit(fd)
            {
                return false;
            }
            rest = rest.get(length as usize..).unwrap_or(&[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn every_descriptor_is_seen() {
        let files: Vec<_> = (0..300)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let mut seen = Vec::new();
        assert!(each_descriptor(|fd| {
            seen.push(fd);
            true
        }));
        assert!(files.iter().all(|file| seen.contains(&file.as_raw_fd())));
        assert!(!each_descriptor(|_| false));
    }

    #[test]
    fn a_file_without_a_client_id_goes_by_its_number() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(client_id(file.as_raw_fd()), None);
        assert_eq!(
            space(file.as_raw_fd(), 128),
            1 << 63 | 128 << 40 | file.as_raw_fd() as u64
        );
    }
}
