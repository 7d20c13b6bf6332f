//! `/run/sdg/slices/<id>/` is a slice. The directory tree is the ledger.
//!
//! ```text
//! <state>/lock                 one flock for whoever changes something
//! <state>/unsettled            while a resize is under way
//! <state>/history              what slices that are over needed, a line each; nothing depends on it
//! <state>/index                what was read last of the records, to read it faster; nothing depends on it
//! <state>/slices/.new-<id>/    being written; left over if its maker died
//! <state>/slices/<id>/         a slice: slice.json, edits.json, limits, usage, view/, preload
//! <state>/slices/.old-<id>/    being removed; left over if its remover died
//! ```
//!
//! A slice appears by a rename and goes by a rename, so that a kill at any instruction leaves it either there or not.

pub mod claimants;
pub mod history;
pub mod identity;
mod index;
pub mod lock;
pub mod members;
pub mod pages;
pub mod reap;
pub mod record;
pub mod store;
mod unsettled;
pub mod usage;
pub mod workload;
