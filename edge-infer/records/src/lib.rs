//! What a camp examines and decides.

pub mod visit;
