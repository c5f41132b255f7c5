//! The training loop.

pub mod checkpoint;
pub mod log;
