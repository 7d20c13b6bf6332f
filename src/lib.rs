//! sdg gives containers slices of AMD GPUs: part of the memory, part of the compute units.
//!
//! One road for every engine:
//!
//! ```text
//! OCI config or state → SliceRequest → Placement → SliceRecord → ContainerEdits → edited spec, or a CDI file
//! ```

pub mod agent_view;
pub mod apply;
pub mod broker;
pub mod cdi;
pub mod cgroups;
pub mod cli;
pub mod commands;
pub mod compute;
pub mod config;
pub mod counters;
pub mod coverage;
pub mod dmem;
pub mod doctor;
pub mod edits;
pub mod enforcement;
pub mod engines;
pub mod files;
pub mod guarded_calls;
pub mod host;
pub mod inventory;
pub mod least_power;
pub mod ledger;
pub mod lifecycle;
pub mod line_number;
pub mod listing;
pub mod oci;
pub mod one_line;
pub mod placement;
pub mod request;
pub mod sizing;
pub mod snapshot;
pub mod sys;
pub mod top;
pub mod units;
pub mod view;
