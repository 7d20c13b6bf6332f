//! The simulator's library: presets, the sysroot they make, and the device model.
//!
//! Data flow of `sdg-sim run`: [`commands::run`] makes the node's directory, starts `launch` and receives the seccomp
//! listener; `launch` enters a namespace that shows the node ([`namespace`]), installs the filter ([`filter`]) and
//! becomes the command; [`supervisor`] answers the calls that the filter holds back, from the devices in [`device`],
//! whose queues [`engine`] runs.

mod block;
mod bpf;
pub mod cli;
pub mod commands;
pub mod cu_map;
mod device;
mod engine;
mod figures;
mod file_system;
mod filter;
pub mod gpu;
mod grants;
mod janitor;
mod log;
pub mod model;
mod namespace;
mod nested;
pub mod node;
mod opening;
pub mod preset;
pub mod rootfs;
mod status;
mod stragglers;
mod supervisor;
mod sys;
mod sysmount;
mod topology;
mod tracee;

pub use grants::probe;
pub use janitor::wait_and_remove;
pub use sysmount::attach;
