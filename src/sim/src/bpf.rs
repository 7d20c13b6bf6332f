//! Runs a seccomp filter's program as the kernel would: classic BPF, as much of it as seccomp takes and libseccomp writes.
//! Source: Linux, seccomp_check_filter() and `include/uapi/linux/bpf_common.h`.

use crate::filter::Instruction;
use crate::sys::Call;

/// Loads a word of the call.
pub const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
/// Keeps bits.
pub const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
/// Jumps by a comparison.
pub const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
/// Jumps by whether any bit is set.
pub const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
/// Ends with a verdict.
pub const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// The verdict of a program on a call (`SECCOMP_RET_*` and its data); none for one that is not understood.
pub fn run(program: &[Instruction], call: &Call) -> Option<u32> {
    let (mut accumulator, mut at) = (0u32, 0usize);
    // Jumps go forward only, so each instruction runs once at most.
    loop {
        let instruction = program.get(at)?;
        at += 1;
        let k = instruction.k;
        let holds = match instruction.code {
            LOAD => {
                accumulator = load(call, k)?;
                continue;
            }
            AND => {
                accumulator &= k;
                continue;
            }
            JUMP => {
                at = at.checked_add(k as usize)?;
                continue;
            }
            RETURN => return Some(k),
            JUMP_EQUAL => accumulator == k,
            JUMP_GREATER => accumulator > k,
            JUMP_GREATER_EQUAL => accumulator >= k,
            JUMP_ANY_BIT => accumulator & k != 0,
            _ => return None,
        };
        at += usize::from(if holds { instruction.jt } else { instruction.jf });
    }
}

/// A word of `struct seccomp_data`. The instruction pointer is not known here, and nobody asks for it.
fn load(call: &Call, offset: u32) -> Option<u32> {
    match offset {
        0 => Some(call.nr as u32),
        4 => Some(call.arch),
        8 | 12 => Some(0),
        _ => {
            let offset = offset.checked_sub(16)?;
            let argument = call.args.get(offset as usize / 8)?;
            match offset % 8 {
                0 => Some(*argument as u32),
                4 => Some((*argument >> 32) as u32),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u16, k: u32) -> Instruction {
        Instruction {
            code,
            jt: 0,
            jf: 1,
            k,
        }
    }

    #[test]
    fn comparisons_jump_and_what_is_not_understood_has_no_verdict() {
        let call = |value| Call {
            id: 0,
            tid: 0,
            nr: 16,
            arch: 0,
            args: [0, value, 0, 0, 0, 0],
        };
        for (code, k, yes, no) in [
            (JUMP_EQUAL, 5, 5, 6),
            (JUMP_GREATER, 5, 6, 5),
            (JUMP_GREATER_EQUAL, 5, 5, 4),
            (JUMP_ANY_BIT, 6, 4, 9),
        ] {
            let program = [
                instruction(LOAD, 24),
                instruction(code, k),
                instruction(RETURN, 1),
                instruction(RETURN, 0),
            ];
            assert_eq!(
                (run(&program, &call(yes)), run(&program, &call(no))),
                (Some(1), Some(0)),
                "{code:#x}"
            );
        }
        assert_eq!(
            run(&[instruction(LOAD, 28), instruction(JUMP, 0)], &call(1)),
            None,
            "runs off its end"
        );
        assert_eq!(run(&[instruction(0xff, 0)], &call(1)), None);
        assert_eq!(
            run(&[instruction(LOAD, 64)], &call(1)),
            None,
            "no seventh argument"
        );
    }
}
