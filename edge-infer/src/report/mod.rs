//! A result as text: one JSON object for programs, a few lines for people.

mod json;
mod text;

pub use json::{PROGRAM, Record, Status};
pub use text::describe;
