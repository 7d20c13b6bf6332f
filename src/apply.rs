//! Edits → container: into its spec, and the proof that they took effect.

pub mod claims;
pub mod conflicts;
pub mod device_rule;
pub mod in_force;
pub mod live;
pub mod seccomp;
pub mod spec;
pub mod user_namespace;
