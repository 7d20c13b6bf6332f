//! Files of the ledger with other content: a record, the index, the history; the first byte says which. What is in them is
//! understood or refused by name, and an index never changes what a record says.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sdg::ledger::record::SliceRecord;
use sdg::ledger::store::Ledger;

use super::is_one_line;
use crate::scratch;

/// The slice whose record stays as it is.
const SOUND: &str = "0123456789ab";
/// The one whose record is written.
const WRITTEN: &str = "fedcba987654";
const RECORD: &[u8] = include_bytes!("../../corpus/ledger/record");

pub fn run(data: &[u8]) {
    let Some((first, content)) = data.split_first() else {
        return;
    };
    let state = scratch::directory(make);
    let [record, index, history] =
        ["slices/fedcba987654/slice.json", "index", "history"].map(|name| state.join(name));
    match first % 3 {
        0 => with(&record, content, || records(state)),
        1 => with(&index, content, || {
            assert_eq!(
                Ledger::at(state).records().expect("a sound record"),
                [sound(state)]
            );
        }),
        _ => with(&history, content, || {
            if let Err(error) = Ledger::at(state).ended() {
                panic!("a history that anybody may remove is in the way: {error}");
            }
        }),
    }
}

fn with(path: &PathBuf, content: &[u8], look: impl FnOnce()) {
    let directory = path.parent().expect("a directory");
    std::fs::create_dir_all(directory).expect("a slice's directory");
    scratch::write(path, content);
    look();
    std::fs::remove_file(path).expect("what was written");
    // Fails where the directory is that of the ledger.
    let _ = std::fs::remove_dir(directory);
}

fn records(state: &Path) {
    match Ledger::at(state).records() {
        Ok(records) => {
            assert!(
                records.iter().any(|record| record.id == WRITTEN),
                "a slice is passed over in silence"
            );
            assert!(records.contains(&sound(state)));
        }
        Err(error) => {
            is_one_line(&error);
            assert!(error.to_string().contains(WRITTEN), "{error} names no slice");
        }
    }
}

fn sound(state: &Path) -> SliceRecord {
    static RECORD: OnceLock<SliceRecord> = OnceLock::new();
    RECORD
        .get_or_init(|| Ledger::at(state).record(SOUND).expect("the sound record"))
        .clone()
}

fn make(state: &Path) {
    let directory = state.join("slices").join(SOUND);
    std::fs::create_dir_all(&directory).expect("a slice's directory");
    scratch::write(&directory.join("slice.json"), &RECORD[1..]);
}
