//! What engines and runtimes hand us: config.json and a container's state.

pub mod beneath;
pub mod config;
pub mod preload;
pub mod runtime_call;
pub mod state;
pub mod tree;
