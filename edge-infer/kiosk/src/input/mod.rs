//! Where events come from.

pub mod script;
