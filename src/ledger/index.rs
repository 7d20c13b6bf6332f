//! What was read of the ledger last, in a form that is read in no time: `<state>/index`. Parsing JSON is most of the
//! cost of knowing what is taken, and of hundreds of records hardly one changes between two placements.
//!
//! ```text
//! index's entry ─ stat(2) of its file ─→ as the index knows it? ─ yes → record from the index
//! a slice that is there and was not found so ───────────────────────────→ record from the file
//! ```
//!
//! It remembers and decides nothing: the directory tree is the ledger. A record counts as long as its file is the very
//! one that was read (inode, size, time of the last change: a record's file is replaced and never written to), so that
//! an index that is missing, cut short, of another version or years old costs time and no more.

use std::path::Path;

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

use crate::files::{FileError, write_whole};
use crate::ledger::record::{Holder, ProcessIdentity, RECORD_VERSION, SliceRecord};
use crate::ledger::store::is_id;
use crate::placement::GpuGrant;
use crate::request::SliceRequest;

const FILE: &str = "index";
const FILE_NEXT: &str = "index.next";
/// To be raised whenever the form changes: there are no names in it by which a change would be noticed.
const VERSION: u32 = 3;
/// Written anew when one record of so many was not in it. Writing costs each record a little, reading one a lot.
const STALE_PART: usize = 32;

/// A record's file as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl From<FileStat> for Seen {
    fn from(stat: FileStat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// A record and its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The file.
    pub seen: Seen,
    /// What is in it.
    #[serde(with = "PlainRecord")]
    pub record: SliceRecord,
}

/// [`SliceRecord`] without what only JSON can say. The compiler sees to it that no field is left out.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SliceRecord")]
struct PlainRecord {
    version: u32,
    id: String,
    name: Option<String>,
    created: u64,
    request: SliceRequest,
    #[serde(with = "PlainHolder")]
    holder: Holder,
    user: Option<u32>,
    enforcement: Vec<String>,
    gpus: Vec<GpuGrant>,
}

/// [`Holder`] without its tag.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Holder")]
enum PlainHolder {
    Placed {
        maker: Option<ProcessIdentity>,
        container: Option<String>,
    },
    Container {
        container: String,
        process: ProcessIdentity,
    },
    Pod {
        sandbox: String,
        pod: String,
        process: Option<ProcessIdentity>,
    },
    Named,
}

/// What a state directory's index knows, oldest slices first; nothing where it cannot be understood.
pub fn read(state: &Path) -> Vec<Entry> {
    let bytes = std::fs::read(state.join(FILE)).unwrap_or_default();
    let mut entries = decode(&bytes).unwrap_or_default();
    entries.retain(|entry| entry.record.version == RECORD_VERSION && is_id(&entry.record.id));
    entries
}

/// Whether an index is to be written anew that did not know so many of so many records.
pub fn is_stale(unknown: usize, records: usize) -> bool {
    unknown > 0 && unknown * STALE_PART >= records
}

/// Writes the index, oldest slices first, as they are wanted when it is read. Only whoever holds the ledger's lock may:
/// nobody else knows that an entry's record is what was in the file when it was looked at.
pub fn write(state: &Path, entries: &[Entry]) -> Result<(), FileError> {
    let next = state.join(FILE_NEXT);
    write_whole(&next, 0o600, &encode(entries))?;
    let index = state.join(FILE);
    std::fs::rename(&next, &index).map_err(FileError::of("rename to", &index))
}

/// Removes the index of an empty ledger. One that cannot be removed does no harm.
pub fn forget(state: &Path) {
    let _ = std::fs::remove_file(state.join(FILE));
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    // What cannot be written down is not known next time.
    postcard::to_extend(entries, VERSION.to_le_bytes().to_vec()).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let entries = bytes.strip_prefix(&VERSION.to_le_bytes())?;
    postcard::from_bytes(entries).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::mask::CuMask;
    use crate::inventory::GpuSelector;
    use crate::ledger::store::Ledger;
    use crate::request::{ComputeRequest, Enforcement, MemoryRequest, Millis, PlacementPolicy, Share};
    use std::time::Duration;

    const PROCESS: ProcessIdentity = ProcessIdentity {
        pid: 7,
        start_time: 1 << 40,
    };

    fn entry(id: &str, holder: Holder) -> Entry {
        let memory = MemoryRequest {
            guarantee: 1 << 30,
            limit: 2 << 30,
        };
        let compute = ComputeRequest::Guaranteed {
            guarantee: Millis(250),
            limit: Millis(500),
        };
        Entry {
            seen: Seen {
                inode: 1 << 33,
                size: 900,
                changed: (1_700_000_000, 999_999_999),
            },
            record: SliceRecord {
                version: RECORD_VERSION,
                id: id.to_owned(),
                name: Some("llama".to_owned()),
                created: 1_700_000_000,
                request: SliceRequest {
                    share: Share::Part { memory, compute },
                    count: 1,
                    gpu: Some(GpuSelector::Pci("0000:05:00.0".to_owned())),
                    group: Some("g".to_owned()),
                    placement: PlacementPolicy::Spread,
                    enforcement: Enforcement::Guarded,
                },
                holder,
                user: Some(1000),
                enforcement: vec!["devices".to_owned()],
                gpus: vec![GpuGrant {
                    index: 0,
                    uuid: "GPU-0".to_owned(),
                    gpu_id: 62792,
                    render_minor: 128,
                    memory_bytes: 1 << 30,
                    memory_limit_bytes: 2 << 30,
                    exclusive: false,
                    rect: None,
                    requested_units: 76,
                    compute_units: 72,
                    compute_limit_units: 144,
                    effective_units: 72,
                    cu_mask: CuMask::from_words(vec![0xffff_ffff, 0, 1]),
                }],
            },
        }
    }

    fn three() -> [Entry; 3] {
        let placed = Holder::Placed {
            maker: Some(PROCESS),
            container: None,
        };
        let claimed = Holder::Container {
            container: "c".to_owned(),
            process: PROCESS,
        };
        [
            entry("00000000000a", placed),
            entry("00000000000b", claimed),
            entry("00000000000c", Holder::Named),
        ]
    }

    #[test]
    fn entries_come_back_as_they_were_but_for_records_of_another_version_or_of_no_slice() {
        let state = tempfile::tempdir().unwrap();
        let mut entries = three();
        write(state.path(), &entries).unwrap();
        assert_eq!(read(state.path()), entries);
        entries[1].record.version += 1;
        write(state.path(), &entries).unwrap();
        let [first, _, mut third] = entries;
        assert_eq!(read(state.path()), [first.clone(), third.clone()]);
        third.record.id = "../../else/it".to_owned();
        write(state.path(), &[first.clone(), third]).unwrap();
        assert_eq!(read(state.path()), [first]);
    }

    #[test]
    fn an_index_that_cannot_be_understood_knows_nothing() {
        let whole = encode(&three());
        let mut other_version = whole.clone();
        other_version[0] += 1;
        for bytes in [&b""[..], b"SDG", &whole[..whole.len() - 1], &other_version] {
            assert_eq!(decode(bytes), None);
        }
        assert_eq!(decode(&whole).as_deref(), Some(&three()[..]));
    }

    #[test]
    fn another_form_is_another_version() {
        let digest = encode(&three()).iter().fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
        assert_eq!(
            (VERSION, digest),
            (3, 2_584_839_519),
            "the form has changed: raise VERSION"
        );
    }

    /// A ledger of so many slices.
    fn ledger(state: &Path, count: usize) -> Ledger {
        let ledger = Ledger::at(state);
        let locked = ledger.lock(Duration::from_secs(1)).unwrap();
        for number in 0..count {
            let record = entry(&format!("{number:012x}"), Holder::Named).record;
            locked.stage(&record.id).unwrap();
            locked.publish(&record).unwrap();
        }
        ledger
    }

    #[test]
    fn the_ledger_is_what_its_files_say_whatever_the_index_says() {
        let state = tempfile::tempdir().unwrap();
        let ledger = ledger(state.path(), 40);
        let locked = ledger.lock(Duration::from_secs(1)).unwrap();
        let first = locked.sweep().unwrap();
        let written = read(state.path());
        assert_eq!(written.len(), 40, "the sweep has written the index");
        let mut changed = first[7].clone();
        changed.name = Some("other".to_owned());
        locked.rewrite(&changed).unwrap();
        locked.remove(&first[0].id).unwrap();
        // Unknown to the index, oldest of all, and as many slices as the index knows.
        let mut other = first[0].clone();
        other.id = "aaaaaaaaaaaa".to_owned();
        other.created -= 1;
        locked.stage(&other.id).unwrap();
        locked.publish(&other).unwrap();
        let expected = || {
            let rest = first[1..].iter();
            let rest = rest.map(|record| if record.id == changed.id { &changed } else { record });
            std::iter::once(&other).chain(rest)
        };
        assert!(ledger.records().unwrap().iter().eq(expected()));
        assert!(locked.sweep().unwrap().iter().eq(expected()));
        std::fs::write(state.path().join(FILE), b"something else").unwrap();
        assert!(ledger.records().unwrap().iter().eq(expected()));
    }

    #[test]
    fn an_empty_ledger_has_no_index() {
        let state = tempfile::tempdir().unwrap();
        let ledger = ledger(state.path(), 1);
        let locked = ledger.lock(Duration::from_secs(1)).unwrap();
        let records = locked.sweep().unwrap();
        assert!(state.path().join(FILE).exists());
        locked.remove(&records[0].id).unwrap();
        assert!(locked.sweep().unwrap().is_empty());
        assert!(!state.path().join(FILE).exists());
    }

    #[test]
    fn a_few_unknown_records_are_read_again_rather_than_written_down() {
        assert!(!is_stale(0, 0) && !is_stale(1, 64));
        assert!(is_stale(1, 1) && is_stale(2, 64) && is_stale(18, 576));
    }
}
