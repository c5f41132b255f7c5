//! Runs a model file: an input tensor in, the network's four outputs out. Knows no files and no
//! screen.
//!
//! A file that is the multi-task U-Net, in f32 or with quantised maps, is recognised
//! ([`recognise`]) and made into one fused operator ([`program`], [`run`], [`kernels`]) that tract
//! runs; any other file runs on tract's own operators.

mod fused;
pub mod kernels;
mod layout;
mod network;
mod onnx;
mod peak;
mod program;
mod recognise;
mod run;

mod engine;

pub use engine::{
    Engine, EngineError, EngineKind, MAX_INPUT_SIDE, Options, ParsedModel, panics_become_errors,
};
pub use kernels::Form;
pub use run::Lap;
