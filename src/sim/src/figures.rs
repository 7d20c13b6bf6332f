//! The figures that the kernel shows in sysfs, kept as files of the node's directory: what each process holds
//! (`class/kfd/kfd/proc/PID/vram_GPU`, `queues/ID/…`) and what is in use of a GPU's memory (`mem_info_vram_used`).
//!
//! The files are written in place, so that a reader through a bind mount or an overlay sees the change.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::model::GpuModel;

/// Writer of the files. What cannot be written is left out: the devices go on without their figures.
#[derive(Debug)]
pub struct Figures {
    processes: PathBuf,
    gpu_ids: Vec<u32>,
    use_files: Vec<PathBuf>,
    open: HashMap<PathBuf, (File, String)>,
}

impl Figures {
    /// For the node at `sysroot`.
    pub fn new(sysroot: &Path, models: &[GpuModel]) -> Self {
        Self {
            processes: sysroot.join("sys/class/kfd/kfd/proc"),
            gpu_ids: models.iter().map(|model| model.gpu_id).collect(),
            use_files: models.iter().map(|model| use_file(models, model)).collect(),
            open: HashMap::new(),
        }
    }

    /// A process opens the KFD: its directory appears, with a file a GPU.
    pub fn begin(&mut self, pid: i32) {
        let directory = self.processes.join(pid.to_string());
        let _unwritable = fs::create_dir_all(directory.join("queues"));
        for gpu in 0..self.gpu_ids.len() {
            self.process(pid, gpu, 0);
        }
    }

    /// A process is gone.
    pub fn end(&mut self, pid: i32) {
        let directory = self.processes.join(pid.to_string());
        self.open.retain(|path, _| !path.starts_with(&directory));
        let _absent = fs::remove_dir_all(directory);
    }

    /// Bytes of VRAM of a process on a GPU.
    pub fn process(&mut self, pid: i32, gpu: usize, bytes: u64) {
        if let Some(gpu_id) = self.gpu_ids.get(gpu) {
            let path = self
                .processes
                .join(pid.to_string())
                .join(format!("vram_{gpu_id}"));
            self.put(path, bytes);
        }
    }

    /// Bytes in use of a GPU's memory.
    pub fn gpu(&mut self, gpu: usize, bytes: u64) {
        if let Some(path) = self.use_files.get(gpu).cloned() {
            self.put(path, bytes);
        }
    }

    /// The queues of a process: id, gpu_id, type, ring size.
    pub fn queues(&mut self, pid: i32, queues: &[(u32, u32, u32, u64)]) {
        let directory = self.processes.join(pid.to_string()).join("queues");
        let _absent = fs::remove_dir_all(&directory);
        for (id, gpu_id, kind, size) in queues {
            let queue = directory.join(id.to_string());
            let _unwritable = fs::create_dir_all(&queue);
            for (name, value) in [
                ("gpuid", u64::from(*gpu_id)),
                ("type", u64::from(*kind)),
                ("size", *size),
            ] {
                let _unwritable = fs::write(queue.join(name), format!("{value}\n"));
            }
        }
    }

    fn put(&mut self, path: PathBuf, value: u64) {
        if !self.open.contains_key(&path) {
            let Ok(file) = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
            else {
                return;
            };
            self.open.insert(path.clone(), (file, String::new()));
        }
        if let Some((file, last)) = self.open.get_mut(&path) {
            let text = format!("{value}\n");
            if text == *last {
                return;
            }
            let written = file.write_all_at(text.as_bytes(), 0);
            let cut = if text.len() < last.len() {
                file.set_len(text.len() as u64)
            } else {
                Ok(())
            };
            *last = if written.and(cut).is_ok() {
                text
            } else {
                String::new()
            };
        }
    }
}

/// The file with the use of a GPU's card: its own, or that of the card's first partition.
fn use_file(models: &[GpuModel], model: &GpuModel) -> PathBuf {
    let first = models
        .iter()
        .find(|other| other.card == model.card && other.vram_used_file.exists());
    first.map_or_else(PathBuf::new, |first| first.vram_used_file.clone())
}
