//! How photographs come in and results go out.
//!
//! [`intake`] hands over photographs from folders, DICOM senders and a Raspberry Pi's camera. [`dicom`] and
//! [`fhir`] write a visit in the two languages that hospitals' servers speak, [`outbox`] delivers what they
//! wrote. Everything blocks; each intake and each delivery has a thread of its own.

pub mod dicom;
mod dimse;
pub mod fhir;
pub mod identity;
pub mod intake;
mod jpeg;
mod lengths;
pub mod outbox;
