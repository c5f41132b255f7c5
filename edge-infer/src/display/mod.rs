//! Where a screen is drawn: a [`Frame`] in memory, and what carries it outside.

mod frame;
pub mod png;

pub use frame::Frame;
