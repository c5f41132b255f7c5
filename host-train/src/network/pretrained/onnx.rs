//! The named constants of an ONNX file.
//!
//! Only what is read is declared here, with the field numbers of `onnx.proto`; everything else in the
//! file is passed over.

use super::Tensors;
use candle_core::{Device, Tensor};
use prost::Message;

const FLOAT: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Constant>,
}

#[derive(Clone, PartialEq, Message)]
struct Constant {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// Reads the constants that are 32-bit floats.
///
/// # Errors
/// What is wrong with the file.
pub fn read(bytes: &[u8]) -> Result<Tensors, String> {
    let model = Model::decode(bytes).map_err(|error| format!("no ONNX file: {error}"))?;
    let constants = model.graph.map(|graph| graph.initializer).unwrap_or_default();
    let floats = constants.into_iter().filter(|constant| constant.data_type == FLOAT);
    floats.map(|constant| Ok((constant.name.clone(), constant.into_tensor()?))).collect()
}

impl Constant {
    fn into_tensor(self) -> Result<Tensor, String> {
        let fail = |what: &str| format!("`{}`: {what}", self.name);
        let shape =
            self.dims.iter().map(|&side| usize::try_from(side)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| fail("a negative side"))?;
        let mut values = self.float_data;
        if values.is_empty() {
            let (fours, _) = self.raw_data.as_chunks::<4>();
            values = fours.iter().map(|four| f32::from_le_bytes(*four)).collect();
        }
        if shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side)) != Some(values.len()) {
            return Err(format!("`{}`: not all of its numbers are in the file", self.name));
        }
        Tensor::from_vec(values, shape, &Device::Cpu).map_err(|error| error.to_string())
    }
}
