//! A result as text: one JSON object for programs, a few lines for people.

mod json;
mod text;

pub use json::{Record, Status};
pub use text::describe;
