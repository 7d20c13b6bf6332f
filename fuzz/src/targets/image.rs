//! Files of an image: the first byte says whether it is the program that the container begins with, its list of
//! preloaded libraries, or its loader.

use std::path::Path;
use std::sync::OnceLock;

use sdg::coverage;
use sdg::edits::{SHIM_LISTED, preload_content};
use sdg::oci::config::Spec;
use sdg::oci::preload;

use super::is_one_line;
use crate::scratch;

const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
const FILES: [&str; 3] = ["bin/program", "etc/ld.so.preload", LOADER];

pub fn run(data: &[u8]) {
    let Some((first, content)) = data.split_first() else {
        return;
    };
    let bundle = scratch::directory(make);
    let file = bundle
        .join("rootfs")
        .join(FILES[usize::from(*first) % FILES.len()]);
    static ORIGINAL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let originals = ORIGINAL.get_or_init(|| {
        FILES
            .map(|file| std::fs::read(bundle.join("rootfs").join(file)).unwrap_or_default())
            .to_vec()
    });
    scratch::write(&file, content);
    look(bundle);
    scratch::write(&file, &originals[usize::from(*first) % FILES.len()]);
}

fn look(bundle: &Path) {
    let spec = Spec::parse(br#"{"process": {"args": ["/bin/program"]}, "root": {"path": "rootfs"}}"#)
        .expect("a config");
    if let Err(gap) = coverage::of_spec(&spec, bundle) {
        is_one_line(&gap);
    }
    match preload::read(&spec, bundle) {
        Ok(image) => {
            let list = preload_content(&image);
            let last = loaded(&list).last().map(<[u8]>::to_vec);
            assert_eq!(
                last.as_deref(),
                Some(SHIM_LISTED.as_bytes()),
                "the shim is not loaded"
            );
        }
        Err(error) => is_one_line(&error),
    }
}

/// The libraries that glibc's loader finds in a list: up to the first zero byte, without comments. Source: elf/rtld.c.
fn loaded(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let read = list.split(|byte| *byte == 0).next().unwrap_or_default();
    let lines = read.split(|byte| *byte == b'\n');
    let words = lines.flat_map(|line| {
        line.split(|byte| *byte == b'#')
            .next()
            .unwrap_or_default()
            .split(|byte| b": \t".contains(byte))
    });
    words.filter(|word| !word.is_empty())
}

fn make(bundle: &Path) {
    for file in FILES {
        let file = bundle.join("rootfs").join(file);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory of the image");
    }
    std::fs::copy("/bin/true", bundle.join("rootfs/bin/program")).expect("a program");
    std::fs::copy(Path::new("/").join(LOADER), bundle.join("rootfs").join(LOADER)).expect("a loader");
    scratch::write(&bundle.join("rootfs/etc/ld.so.preload"), b"");
}
