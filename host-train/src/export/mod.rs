//! From checkpoint to bundle.

pub mod calibrate;
pub mod certify;
pub mod fold;
pub mod onnx;
pub mod quantize;
