//! A usage page as a container left it, read by the host: it is that of a slice, or it counts for nothing.

use std::fs::File;
use std::sync::OnceLock;

use sdg::ledger::usage;
use sdg_abi::usage::{FILE_NAME, LOCK_BASE, MAX_SLOTS};

use super::is_one_line;
use crate::{scratch, sys};

const GPUS: usize = 2;

pub fn run(data: &[u8]) {
    let directory = scratch::directory(|_| ());
    let path = directory.join(FILE_NAME);
    scratch::write(&path, data);
    // Every third slot is a living process's.
    static ALIVE: OnceLock<File> = OnceLock::new();
    ALIVE.get_or_init(|| {
        let file = File::options().write(true).open(&path).expect("the page");
        (0..MAX_SLOTS as u64)
            .step_by(3)
            .for_each(|slot| sys::lock(&file, LOCK_BASE + slot, 1));
        file
    });
    if let Ok(file) = usage::UsageFile::open(directory) {
        match file.read(GPUS) {
            Ok(Some(usage)) => {
                assert_eq!(usage.used.len(), GPUS);
                assert!(usage.processes as usize <= MAX_SLOTS.div_ceil(3), "{usage:?}");
            }
            Ok(None) => {}
            Err(error) => is_one_line(&error),
        }
    }
    for error in [
        usage::read_slots(directory, GPUS).err(),
        usage::read_past(directory).err(),
    ]
    .into_iter()
    .flatten()
    {
        is_one_line(&error);
    }
}
