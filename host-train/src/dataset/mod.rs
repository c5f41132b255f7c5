//! Samples, their truth, and where they come from.

pub mod augment;
pub mod batches;
pub mod check;
pub mod drishti;
pub mod hrf;
pub mod hygd;
pub mod idrid;
pub mod phantom;
pub mod pseudo;
pub mod refuge;
