//! Examines fundus photographs: bundle in, photograph in, result and picture out.

pub mod archive;
pub mod bench;
pub mod board;
pub mod bundle;
pub mod cli;
pub mod exam;
pub mod kiosk;
pub mod report;
pub mod reports;
pub mod screen;
pub mod service;
pub mod source;
