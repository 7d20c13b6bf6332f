//! A limits page as the shim maps it: refused by name, or every figure is within bounds, and a queue's mask within it.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use sdg_abi::Plain;
use sdg_abi::limits::{FILE_NAME, Header, MAX_GPUS, PAGE_SIZE};
use sdg_shim_core::mask::{Mask, parse_global, within};
use sdg_shim_core::pages::Limits;

use crate::{scratch, sys};

pub fn run(data: &[u8]) {
    let (page, wish) = data.split_at(data.len().min(PAGE_SIZE));
    let path = path(scratch::directory(|_| ()));
    let mut page = page.to_vec();
    // One that a killed host left in the middle of a change is waited for, a second long.
    let sequence = std::mem::offset_of!(Header, sequence);
    if let Some(low) = page.get_mut(sequence) {
        *low &= !1;
    }
    scratch::write(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())), &page);
    // The shim keeps its pages for the life of a process; a fuzzer would run out of mappings.
    let mapping = sys::next_mapping(PAGE_SIZE);
    if let Ok(limits) = Limits::open(path) {
        assert!(page.len() >= PAGE_SIZE, "a page of {} bytes is taken", page.len());
        check(&limits, &Header::from_prefix(&page), parse_global(wish).as_ref());
        // SAFETY: the page was mapped there, and `limits` is not used again.
        unsafe { sys::unmap(mapping, PAGE_SIZE) };
    }
}

fn check(limits: &Limits, head: &Header, wish: Option<&Mask>) {
    let gpus = limits.gpu_count();
    assert!((1..=MAX_GPUS).contains(&gpus) && gpus == head.gpu_count as usize);
    assert_eq!(limits.generation(), head.generation);
    for gpu in 0..gpus {
        let first = limits.index_of(limits.gpu_id(gpu)).expect("a GPU that is there");
        assert!(first <= gpu);
        let Ok((mask, generation)) = limits.mask(gpu) else {
            panic!("a page that nobody writes is changing");
        };
        assert_eq!(generation, head.generation);
        let xccs = limits.xcc_count(gpu);
        let queue = within(&mask, xccs, wish);
        let is_within = mask.bits == 0
            || queue
                .words
                .iter()
                .zip(&mask.words)
                .all(|(queue, slice)| queue & !slice == 0);
        assert!(is_within, "{queue:?} is not within {mask:?}");
        if mask.covers(xccs) {
            assert!(
                queue.covers(xccs) || mask.bits == 0,
                "{queue:?} leaves out one of {xccs} XCCs"
            );
        }
    }
}

fn path(directory: &Path) -> &'static CStr {
    static PATH: OnceLock<CString> = OnceLock::new();
    PATH.get_or_init(|| CString::new(directory.join(FILE_NAME).as_os_str().as_bytes()).expect("a path"))
}
