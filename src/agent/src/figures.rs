//! The kernel's own figures of what each process has on each GPU: `/sys/class/kfd/kfd/proc/<pid>`, by pids of the
//! initial namespace. Nothing in a container can alter them. Source: Linux, kfd_process.c.

use std::fs;
use std::path::{Path, PathBuf};

/// `type` of compute queues: KFD_QUEUE_TYPE_COMPUTE, and the number by which user space asks for an AQL one.
const COMPUTE: [u32; 2] = [
    sdg_abi::kfd::queue_type::COMPUTE,
    sdg_abi::kfd::queue_type::COMPUTE_AQL,
];

/// A queue as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Number in its process.
    pub id: u32,
    /// The GPU.
    pub gpu_id: u32,
    /// Whether it runs programs on compute units (others copy).
    pub is_compute: bool,
}

/// Reader of the figures. What cannot be read is zero: a process that is gone has nothing.
#[derive(Clone, Debug)]
pub struct Figures {
    processes: PathBuf,
}

impl Figures {
    /// Below a system root.
    pub fn below(sysroot: &Path) -> Self {
        Self {
            processes: sysroot.join("sys/class/kfd/kfd/proc"),
        }
    }

    /// Whether this kernel shows them (Linux 5.9 and later).
    pub fn are_shown(&self) -> bool {
        self.processes.is_dir()
    }

    /// Pids of the processes that have the KFD open.
    pub fn processes(&self) -> Vec<i32> {
        numbers(&self.processes)
    }

    /// Bytes of VRAM of a process on a GPU.
    pub fn vram(&self, pid: i32, gpu_id: u32) -> u64 {
        let file = self
            .processes
            .join(pid.to_string())
            .join(format!("vram_{gpu_id}"));
        number_in(&file).unwrap_or(0)
    }

    /// The queues of a process.
    pub fn queues(&self, pid: i32) -> Vec<Queue> {
        let directory = self.processes.join(pid.to_string()).join("queues");
        let queue = |id: u32| {
            let value = |name| number_in(&directory.join(id.to_string()).join(name));
            let kind = u32::try_from(value("type")?).ok()?;
            Some(Queue {
                id,
                gpu_id: u32::try_from(value("gpuid")?).ok()?,
                is_compute: COMPUTE.contains(&kind),
            })
        };
        numbers(&directory).into_iter().filter_map(queue).collect()
    }
}

/// The entries of a directory that are numbers, in order.
fn numbers<T: std::str::FromStr + Ord>(directory: &Path) -> Vec<T> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<T> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_what_is_gone_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        let figures = Figures::below(root.path());
        assert!(!figures.are_shown());
        let process = root.path().join("sys/class/kfd/kfd/proc/4711");
        for (queue, kind) in [("0", "2"), ("7", "0"), ("8", "1")] {
            let queue = process.join("queues").join(queue);
            fs::create_dir_all(&queue).unwrap();
            fs::write(queue.join("gpuid"), "9\n").unwrap();
            fs::write(queue.join("type"), format!("{kind}\n")).unwrap();
        }
        fs::write(process.join("vram_9"), "4096\n").unwrap();
        assert!(figures.are_shown());
        assert_eq!(figures.processes(), [4711]);
        assert_eq!(
            (figures.vram(4711, 9), figures.vram(4711, 8), figures.vram(1, 9)),
            (4096, 0, 0)
        );
        let compute: Vec<(u32, bool)> = figures
            .queues(4711)
            .iter()
            .map(|queue| (queue.id, queue.is_compute))
            .collect();
        assert_eq!(compute, [(0, true), (7, true), (8, false)]);
    }
}
