//! The seccomp filter: which system calls of the tree the supervisor sees.
//!
//! - `open`, `openat`, `openat2`: all but those for a directory or a path only. A filter cannot read the name.
//! - `fstat`, and `newfstatat` and `statx` on a descriptor (AT_EMPTY_PATH): a device must look like one.
//! - `statfs` and `fstatfs`: the node's /sys is to look like a sysfs.
//! - `ioctl`: all but terminals' ('T') and sockets' (0x89). The KFD ignores the type byte, so it is no criterion; a
//!   caller who takes one of those two types for a KFD call gets ENOTTY, where the kernel would obey.
//! - `mount` and `fsopen`: a container's /sys is to show the node's GPUs.
//! - `rt_sigreturn`: a signal may have kept an answer from its caller.
//! - `seccomp` that asks for a listener: the kernel would refuse a second one in the tree.
//!
//! Everything else, read, write, mmap and futex among it, runs at the kernel's own speed.

use crate::bpf::{AND, JUMP_ANY_BIT, JUMP_EQUAL, LOAD, RETURN};

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const fn arg_low(index: u32) -> u32 {
    16 + 8 * index
}

#[cfg(target_arch = "x86_64")]
const THIS_ARCH: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const THIS_ARCH: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// Type bytes, in place, of the ioctls that no device of ours has.
const TERMINAL: u32 = (b'T' as u32) << 8;
const SOCKET: u32 = 0x89 << 8;

const fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const ALLOW: Instruction = op(RETURN, libc::SECCOMP_RET_ALLOW);
const NOTIFY: Instruction = op(RETURN, libc::SECCOMP_RET_USER_NOTIF);

/// The filter's program.
pub fn program() -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD, ARCH),
        Instruction {
            code: JUMP_EQUAL,
            jt: 1,
            jf: 0,
            k: THIS_ARCH,
        },
        ALLOW,
        op(LOAD, NR),
    ];
    let path_only = (libc::O_PATH | libc::O_DIRECTORY) as u32;
    let on_descriptor = libc::AT_EMPTY_PATH as u32;
    #[cfg(target_arch = "x86_64")]
    program.extend(when(libc::SYS_open, &unless_any(1, path_only)));
    program.extend(when(libc::SYS_openat, &unless_any(2, path_only)));
    program.extend(when(libc::SYS_newfstatat, &if_any(3, on_descriptor)));
    program.extend(when(libc::SYS_statx, &if_any(2, on_descriptor)));
    program.extend(when(libc::SYS_ioctl, &ioctls()));
    let with_listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    program.extend(when(libc::SYS_seccomp, &if_any(1, with_listener)));
    for call in [
        libc::SYS_openat2,
        libc::SYS_fstat,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        libc::SYS_mount,
        libc::SYS_fsopen,
        libc::SYS_rt_sigreturn,
    ] {
        program.extend(when(call, &[NOTIFY]));
    }
    program.push(ALLOW);
    program
}

/// `body`, which returns, for the call `nr`; the number stays loaded for what follows.
fn when(nr: libc::c_long, body: &[Instruction]) -> Vec<Instruction> {
    let skip = Instruction {
        code: JUMP_EQUAL,
        jt: 0,
        jf: body.len() as u8,
        k: nr as u32,
    };
    [&[skip], body].concat()
}

fn unless_any(arg: u32, bits: u32) -> [Instruction; 4] {
    [
        op(LOAD, arg_low(arg)),
        Instruction {
            code: JUMP_ANY_BIT,
            jt: 0,
            jf: 1,
            k: bits,
        },
        ALLOW,
        NOTIFY,
    ]
}

fn if_any(arg: u32, bits: u32) -> [Instruction; 4] {
    [
        op(LOAD, arg_low(arg)),
        Instruction {
            code: JUMP_ANY_BIT,
            jt: 0,
            jf: 1,
            k: bits,
        },
        NOTIFY,
        ALLOW,
    ]
}

fn ioctls() -> [Instruction; 6] {
    [
        op(LOAD, arg_low(1)),
        op(AND, 0xff00),
        Instruction {
            code: JUMP_EQUAL,
            jt: 1,
            jf: 0,
            k: TERMINAL,
        },
        Instruction {
            code: JUMP_EQUAL,
            jt: 0,
            jf: 1,
            k: SOCKET,
        },
        ALLOW,
        NOTIFY,
    ]
}

#[cfg(test)]
mod tests {
    use super::{THIS_ARCH, program};
    use crate::bpf;
    use crate::sys::Call;

    fn verdict(nr: libc::c_long, args: [u32; 4]) -> u32 {
        let [a, b, c, d] = args.map(u64::from);
        let call = Call {
            id: 0,
            tid: 0,
            nr,
            arch: THIS_ARCH,
            args: [a, b, c, d, 0, 0],
        };
        bpf::run(&program(), &call).unwrap()
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

    #[test]
    fn device_calls_are_seen_and_terminals_are_not() {
        assert_eq!(verdict(libc::SYS_ioctl, [3, 0xc028_4b16, 0, 0]), NOTIFY);
        assert_eq!(verdict(libc::SYS_ioctl, [3, 0xc028_0016, 0, 0]), NOTIFY);
        assert_eq!(verdict(libc::SYS_ioctl, [3, 0x5401, 0, 0]), ALLOW);
        assert_eq!(verdict(libc::SYS_ioctl, [3, 0x8912, 0, 0]), ALLOW);
    }

    #[test]
    fn opens_are_seen_but_those_for_directories_and_paths() {
        assert_eq!(verdict(libc::SYS_openat, [0, 0, libc::O_RDWR as u32, 0]), NOTIFY);
        assert_eq!(
            verdict(libc::SYS_openat, [0, 0, libc::O_DIRECTORY as u32, 0]),
            ALLOW
        );
        assert_eq!(verdict(libc::SYS_openat, [0, 0, libc::O_PATH as u32, 0]), ALLOW);
    }

    #[test]
    fn stat_by_descriptor_is_seen_and_by_name_is_not() {
        assert_eq!(
            verdict(libc::SYS_newfstatat, [0, 0, 0, libc::AT_EMPTY_PATH as u32]),
            NOTIFY
        );
        assert_eq!(verdict(libc::SYS_newfstatat, [0, 0, 0, 0]), ALLOW);
        assert_eq!(verdict(libc::SYS_read, [0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn a_filter_is_seen_if_it_asks_for_a_listener() {
        assert_eq!(verdict(libc::SYS_seccomp, [1, 8, 0, 0]), NOTIFY);
        assert_eq!(verdict(libc::SYS_seccomp, [1, 1, 0, 0]), ALLOW);
    }
}
