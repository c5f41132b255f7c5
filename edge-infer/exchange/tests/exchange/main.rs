//! Photographs in and results out, without a peer that is not in here. What real peers say is in `tests/interop`.
#![allow(clippy::unwrap_used)]

mod dicom;
mod fhir;
mod fixture;
mod folder;
mod http;
mod rpicam;
mod scp;
