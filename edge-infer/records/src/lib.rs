//! What a camp examines and decides, and the journal that keeps it.
//!
//! `visit` holds the values, `decide` turns a visit's exams into a decision, `operating_point` chooses
//! the threshold. `journal` keeps visits, sealed photographs, deliveries and the audit on disk; `seal` is
//! its cryptography, `disk` the few file operations it rests on. `export` writes days as CSV and JSON.

pub mod clock;
pub mod decide;
pub mod disk;
pub mod export;
pub mod ids;
pub mod journal;
pub mod operating_point;
pub mod seal;
pub mod visit;
