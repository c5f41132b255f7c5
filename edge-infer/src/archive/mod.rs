//! Archives: more photographs than one process should go through. Each process takes one
//! [`Shard`] of them and writes one [`Part`], which survives being stopped at any moment;
//! [`pipeline`] keeps reading, decoding and the network busy at the same time.

mod part;
pub mod pipeline;
mod run_file;
mod shard;

pub use part::{Counts, Finished, Opened, Part, PartError};
pub use run_file::RunError;
pub use shard::Shard;

use glaucoma_common::photo::sha256_hex;

/// 128 bits of the SHA-256 of `text`: names are kept in memory as this, whatever their length.
pub fn digest(text: &str) -> u128 {
    // Thirty-two hexadecimal digits always are a number of 128 bits.
    u128::from_str_radix(&sha256_hex(text.as_bytes())[..32], 16).unwrap_or_default()
}
