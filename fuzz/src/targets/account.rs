//! A usage page that a container scribbles on while its own shim counts in it: no reservation beyond the limit, no figure
//! beyond the total, whatever stands there. Eight bytes of an amount, then the page.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use sdg_abi::{Plain, limits, usage};
use sdg_shim_core::pages::Paths;
use sdg_shim_core::process::Anchor;

use crate::scratch;

const LIMIT: u64 = 20 << 30;

pub fn run(data: &[u8]) {
    let Some((amount, scribble)) = data.split_first_chunk() else {
        return;
    };
    let amount = u64::from_le_bytes(*amount);
    let directory = scratch::directory(make);
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    let anchor = ANCHOR.get_or_init(|| {
        let [limits, usage] = [limits::FILE_NAME, usage::FILE_NAME].map(|name| leaked(&directory.join(name)));
        Anchor::new(Paths { limits, usage })
    });
    let Ok(process) = anchor.enter() else {
        panic!("sound pages are refused")
    };
    let page = File::options()
        .write(true)
        .open(directory.join(usage::FILE_NAME))
        .expect("the page");
    let scribble = &scribble[..scribble.len().min(usage::PAGE_SIZE)];
    page.write_all_at(scribble, 0).expect("a page in memory");

    assert!(process.available(0) <= LIMIT);
    let reserved = process.reserve(0, amount);
    assert!(
        !reserved || amount <= LIMIT,
        "{amount} bytes of {LIMIT} are granted"
    );
    assert!(process.available(0) <= LIMIT);
    if reserved {
        process.release(0, amount);
    }
    // An amount that was never charged, on a GPU that is not there.
    process.release(0, amount);
    process.release(limits::MAX_GPUS, amount);
}

fn make(directory: &Path) {
    let mut limits = limits::LimitsPage::zeroed();
    limits.header = limits::Header {
        magic: limits::MAGIC,
        version: limits::VERSION,
        size: limits::PAGE_SIZE as u32,
        gpu_count: 1,
        generation: 1,
        ..limits::Header::zeroed()
    };
    limits.gpus[0] = limits::GpuLimits {
        gpu_id: 0xbeef,
        memory_limit: LIMIT,
        memory_total: LIMIT,
        xcc_count: 1,
        ..limits::GpuLimits::zeroed()
    };
    let mut usage = usage::UsagePage::zeroed();
    usage.header = usage::Header {
        magic: usage::MAGIC,
        version: usage::VERSION,
        size: usage::PAGE_SIZE as u32,
        ..usage::Header::zeroed()
    };
    scratch::write(&directory.join(limits::FILE_NAME), limits.as_bytes());
    scratch::write(&directory.join(usage::FILE_NAME), usage.as_bytes());
}

fn leaked(path: &Path) -> &'static CStr {
    Box::leak(
        CString::new(path.as_os_str().as_bytes())
            .expect("a path")
            .into_boxed_c_str(),
    )
}
