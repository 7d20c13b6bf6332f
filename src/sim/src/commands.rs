//! A verb a file.

pub mod launch;
pub mod node;
pub mod rootfs;
pub mod run;
pub mod status;
