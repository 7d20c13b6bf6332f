//! One program for all targets, so that it is linked once: `SDG_FUZZ_TARGET` says which one the fuzzer's bytes go to.
//!
//! ```text
//! libFuzzer ─ bytes ─→ the target ─ reads them as sdg would ─→ checks what must hold of what was read, or panics
//! ```
#![no_main]

mod scratch;
mod sys;
mod targets;

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("SDG_FUZZ_TARGET").unwrap_or_default();
        let Some(target) = targets::named(&name) else {
            eprintln!("SDG_FUZZ_TARGET={name:?}: {} are there", targets::names());
            std::process::exit(2);
        };
        TARGET.get_or_init(|| target);
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(data);
        }
    }
);
