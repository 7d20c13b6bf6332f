//! Pages that are missing or wrong grant nothing, and the reason is named.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/slice.rs"]
mod slice;

use sdg_shim_core::mask::Mask;
use sdg_shim_core::report::Reason;
use slice::{GPU_ID, Slice, limits_page};

fn reason_after(change: impl FnOnce(&Slice)) -> (String, Reason) {
    let slice = Slice::new(100);
    change(&slice);
    let refusal = slice.anchor().enter().err().unwrap();
    let path = refusal.path.to_str().unwrap();
    (path.rsplit('/').next().unwrap().to_owned(), refusal.reason)
}

fn edit(slice: &Slice, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = slice.directory.path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_good_pair_is_taken() {
    let slice = Slice::new(100);
    let anchor = slice.anchor();
    let limits = anchor.enter().unwrap().pages().limits;
    assert_eq!(limits.index_of(GPU_ID), Some(0));
    assert_eq!(limits.index_of(0), None);
    assert_eq!(limits.index_of_render_minor(128), Some(0));
    assert_eq!(limits.index_of_render_minor(129), None);
    assert_eq!(
        (limits.memory_limit(0), limits.xcc_count(0), limits.generation()),
        (100, 8, 1)
    );
    assert_eq!(limits.mask(0), Ok((Mask::new(64, &[u32::MAX; 2]), 1)));
    assert_eq!(limits.kfd_device(), None);
}

#[test]
fn what_is_wrong_is_named() {
    for name in ["limits", "usage"] {
        let name_of = |reason| (name.to_owned(), reason);
        let missing = reason_after(|slice| std::fs::remove_file(slice.directory.path().join(name)).unwrap());
        assert_eq!(missing, name_of(Reason::Open(2)));
        let short = reason_after(|slice| edit(slice, name, |bytes| bytes.truncate(100)));
        assert_eq!(short, name_of(Reason::Short(100)));
        let magic = reason_after(|slice| edit(slice, name, |bytes| bytes[0] ^= 1));
        assert_eq!(magic, name_of(Reason::Magic));
        let version = reason_after(|slice| edit(slice, name, |bytes| bytes[8] = 9));
        assert_eq!(version, name_of(Reason::Version(9)));
        let size = reason_after(|slice| edit(slice, name, |bytes| bytes[12] ^= 1));
        assert_eq!(size, name_of(Reason::Head));
        let directory = reason_after(|slice| {
            std::fs::remove_file(slice.directory.path().join(name)).unwrap();
            std::fs::create_dir(slice.directory.path().join(name)).unwrap();
        });
        assert!(
            matches!(directory.1, Reason::Open(_) | Reason::Short(_)),
            "{directory:?}"
        );
    }
    for count in [0, 65, u32::MAX] {
        let mut page = limits_page(100);
        page.header.gpu_count = count;
        assert_eq!(reason_after(|slice| slice.write_limits(&page)).1, Reason::Head);
    }
}

#[test]
fn a_page_that_comes_later_is_found() {
    let slice = Slice::new(100);
    let path = slice.directory.path().join("limits");
    std::fs::rename(&path, path.with_extension("later")).unwrap();
    let anchor = slice.anchor();
    assert!(anchor.enter().is_err());
    assert!(anchor.existing().is_none());
    std::fs::rename(path.with_extension("later"), &path).unwrap();
    assert!(anchor.enter().unwrap().reserve(0, 100));
}

#[test]
fn a_mask_is_read_whole_or_not_at_all() {
    let slice = Slice::new(100);
    let anchor = slice.anchor();
    let limits = anchor.enter().unwrap().pages().limits;
    let mut page = limits_page(100);
    page.header.sequence = 7;
    slice.write_limits(&page);
    assert_eq!(limits.mask(0).unwrap_err().reason, Reason::Changing);
    page.header.sequence = 8;
    page.header.generation = 5;
    page.gpus[0].mask[1] = 0xff;
    slice.write_limits(&page);
    assert_eq!(limits.mask(0), Ok((Mask::new(64, &[u32::MAX, 0xff]), 5)));
}

#[test]
fn a_mask_is_never_seen_half_changed() {
    let slice = Slice::new(100);
    let anchor = slice.anchor();
    let limits = anchor.enter().unwrap().pages().limits;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut page = limits_page(100);
            for change in 1..2000u32 {
                page.header.sequence = change * 2 - 1;
                slice.write_limits(&page);
                page.gpus[0].mask.fill(change);
                slice.write_limits(&page);
                page.header.sequence = change * 2;
                slice.write_limits(&page);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let (mask, _) = limits.mask(0).unwrap();
            assert_eq!(mask.words[0], mask.words[1]);
        }
    });
}
