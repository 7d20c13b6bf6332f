//! CDI: the Container Device Interface's files, by which engines know our devices by name.
//!
//! ```text
//! inventory → whole GPUs (gpus.rs) ┐
//! slice → ContainerEdits ──────────┴→ CdiSpec (spec.rs: form, version, rules) → files.rs
//! ```
//!
//! A whole GPU's edits claim it in the ledger when the container starts: it is refused while slices are on it, and
//! while the container runs no slice gets there.

pub mod files;
pub mod from_edits;
pub mod gpus;
pub mod spec;

/// Vendor of our kinds.
const VENDOR: &str = "sdg.exostellar.io";
/// Kind of whole GPUs and partitions.
pub const GPU_KIND: &str = "sdg.exostellar.io/gpu";
/// The kind that AMD's own toolkit uses; the same device names.
pub const AMD_KIND: &str = "amd.com/gpu";
/// Kind of named slices.
pub const SLICE_KIND: &str = "sdg.exostellar.io/slice";

/// Whether a kind is ours to write.
pub fn is_our_kind(kind: &str) -> bool {
    kind == AMD_KIND || kind.split('/').next() == Some(VENDOR)
}
