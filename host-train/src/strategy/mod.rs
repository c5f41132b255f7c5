//! Multi-task strategies.

pub mod aggregated;
pub mod independent;
