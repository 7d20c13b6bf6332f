//! sdg-agent, the optional daemon. Slices are placed and enforced without it.
//!
//! ```text
//! Cli → Host → parts, a thread each → the first that fails ends the agent, and its service manager starts it anew
//! ```

#[cfg(feature = "amd-smi")]
pub mod amd_smi;
pub mod broker;
pub mod cli;
pub mod events;
pub mod figures;
pub mod gpus;
pub mod guard;
pub mod membership;
pub mod metrics;
pub mod nri;
pub mod parts;
pub mod reaper;
pub mod socket;
pub mod watchdog;
