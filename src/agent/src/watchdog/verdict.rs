//! Who has more than its slice? Pure.

/// What a slice may have of one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuLimit {
    /// Bytes.
    pub memory: u64,
    /// Whether queues must have a mask.
    pub is_masked: bool,
}

/// What a process has, and what it admits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// In the initial namespace.
    pub pid: i32,
    /// Bytes on each GPU of the slice, by the kernel.
    pub vram: Vec<u64>,
    /// Bytes on each GPU of the slice, by the usage page; the container can write there, so it serves to tell one of the
    /// slice's processes from another, and for nothing else.
    pub admitted: Vec<u64>,
    /// Compute queues on GPUs where queues must have a mask, and have none as far as is known.
    pub unmasked_queues: u32,
}

/// What a process of a slice does that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offence {
    /// Its slice has more than its limit, and it is the one to blame.
    Memory {
        /// Place in the slice.
        gpu: usize,
        /// Bytes that all its processes have.
        used: u64,
        /// Bytes.
        limit: u64,
    },
    /// Its queues run everywhere.
    Queues {
        /// How many.
        unmasked: u32,
    },
}

/// The offenders of a slice, a process each. On a GPU where the slice has too much it is the process that has most which
/// it does not admit to, else the one that has most.
pub fn offenders(limits: &[GpuLimit], processes: &[Process]) -> Vec<(i32, Offence)> {
    let mut found = Vec::new();
    for (gpu, limit) in limits.iter().enumerate() {
        let used = processes
            .iter()
            .map(|process| vram(process, gpu))
            .fold(0, u64::saturating_add);
        if used > limit.memory
            && let Some(process) = processes.iter().max_by_key(|process| blame(process, gpu))
        {
            let offence = Offence::Memory {
                gpu,
                used,
                limit: limit.memory,
            };
            found.push((process.pid, offence));
        }
    }
    for process in processes.iter().filter(|process| process.unmasked_queues > 0) {
        let unmasked = process.unmasked_queues;
        found.push((process.pid, Offence::Queues { unmasked }));
    }
    found.sort_by_key(|(pid, _)| *pid);
    found.dedup_by_key(|(pid, _)| *pid);
    found
}

fn vram(process: &Process, gpu: usize) -> u64 {
    process.vram.get(gpu).copied().unwrap_or(0)
}

/// What a process has and does not admit to, then what it has.
fn blame(process: &Process, gpu: usize) -> (u64, u64) {
    let vram = vram(process, gpu);
    let admitted = process.admitted.get(gpu).copied().unwrap_or(0);
    (vram.saturating_sub(admitted), vram)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: GpuLimit = GpuLimit {
        memory: 100,
        is_masked: true,
    };

    fn process(pid: i32, vram: u64, admitted: u64) -> Process {
        Process {
            pid,
            vram: vec![vram],
            admitted: vec![admitted],
            unmasked_queues: 0,
        }
    }

    #[test]
    fn a_slice_within_its_limit_has_no_offender() {
        assert_eq!(offenders(&[LIMIT], &[process(1, 60, 60), process(2, 40, 0)]), []);
        assert_eq!(offenders(&[LIMIT], &[]), []);
    }

    #[test]
    fn the_process_that_hides_most_is_to_blame_and_not_the_largest() {
        let found = offenders(
            &[LIMIT],
            &[process(1, 90, 90), process(2, 11, 0), process(3, 5, 2)],
        );
        let offence = Offence::Memory {
            gpu: 0,
            used: 106,
            limit: 100,
        };
        assert_eq!(found, [(2, offence)]);
        let found = offenders(&[LIMIT], &[process(1, 90, 90), process(2, 11, 11)]);
        assert_eq!(found[0].0, 1, "the largest where all is admitted");
    }

    #[test]
    fn sums_do_not_overflow() {
        let found = offenders(&[LIMIT], &[process(1, u64::MAX, 0), process(2, u64::MAX, 0)]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn each_process_is_found_once() {
        let unmasked = Process {
            unmasked_queues: 2,
            ..process(1, 200, 0)
        };
        assert_eq!(offenders(&[LIMIT], std::slice::from_ref(&unmasked)).len(), 1);
        let modest = Process {
            vram: vec![1],
            ..unmasked
        };
        assert_eq!(
            offenders(&[LIMIT], &[modest]),
            [(1, Offence::Queues { unmasked: 2 })]
        );
    }
}
