//! What trainer and device must agree on, bit for bit.
//!
//! Bytes in, values out: no network engine, and of the file system only [`files`], the one way in
//! which files are written. A photograph passes through the modules in
//! this order: [`photo`] decodes it, [`quality`] says whether it can be graded, [`preprocess`] makes the
//! network's input, [`mask`] and [`reading`] interpret what the network answers, [`risk`] turns that
//! into one probability, [`grading`] says whether it may be given; [`manifest`] says how for a given
//! model, [`calibration`] how far it can be trusted, [`metrics`] says how well, and [`self_test`]
//! whether an engine computes the model that was exported.

pub mod calibration;
pub mod files;
pub mod grading;
pub mod manifest;
pub mod mask;
pub mod metrics;
pub mod photo;
pub mod preprocess;
pub mod quality;
pub mod reading;
pub mod risk;
pub mod self_test;
