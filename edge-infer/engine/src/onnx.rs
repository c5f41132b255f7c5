//! A plain view of an ONNX graph: nodes, constants, attributes. Knows nothing of networks.

use std::collections::HashMap;

use half::f16;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The parts of a graph by the names they are found under.
pub struct View<'a> {
    /// The nodes in the file's order, which is an order of computation.
    pub nodes: &'a [NodeProto],
    /// Names of the graph's outputs.
    pub outputs: Vec<&'a str>,
    constants: HashMap<&'a str, &'a TensorProto>,
    producers: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> View<'a> {
    /// Indexes `graph`.
    pub fn new(graph: &'a GraphProto) -> Self {
        let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let producers = graph
            .node
            .iter()
            .flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)));
        Self {
            nodes: &graph.node,
            outputs: graph.output.iter().map(|output| output.name.as_str()).collect(),
            constants: constants.collect(),
            producers: producers.collect(),
        }
    }

    /// The constant stored under `name`.
    pub fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        self.constants.get(name).copied()
    }

    /// The node that computes `name`.
    pub fn producer(&self, name: &str) -> Option<&'a NodeProto> {
        self.producers.get(name).copied()
    }

    /// The one number stored under `name`.
    pub fn scalar(&self, name: &str) -> Option<f32> {
        match floats(self.constant(name)?)?[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// Sides of a tensor.
pub fn dims(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|side| usize::try_from(*side).unwrap_or(0)).collect()
}

/// The values of an f32 tensor that the file holds itself; `None` for any other.
pub fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    if !tensor.float_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    Some(tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The values of an f16 tensor that the file holds itself, as f32; `None` for any other.
pub fn halves(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float16 as i32 || tensor.raw_data.is_empty() {
        return None;
    }
    let values = tensor.raw_data.as_chunks().0.iter();
    Some(values.map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect())
}

/// The values of a tensor of signed bytes that the file holds itself; `None` for any other.
pub fn bytes(tensor: &TensorProto) -> Option<Vec<i8>> {
    if tensor.data_type != DataType::Int8 as i32 {
        return None;
    }
    if tensor.int32_data.is_empty() {
        return Some(tensor.raw_data.iter().map(|byte| byte.cast_signed()).collect());
    }
    tensor.int32_data.iter().map(|value| i8::try_from(*value).ok()).collect()
}

/// The values of a tensor of 32-bit integers that the file holds itself; `None` for any other.
pub fn words(tensor: &TensorProto) -> Option<Vec<i32>> {
    if tensor.data_type != DataType::Int32 as i32 {
        return None;
    }
    if tensor.int32_data.is_empty() {
        let words = tensor.raw_data.as_chunks().0.iter();
        return Some(words.map(|bytes| i32::from_le_bytes(*bytes)).collect());
    }
    Some(tensor.int32_data.clone())
}

/// The integers of a zero point, of any type that one may have, with that type.
pub fn zero_points(tensor: &TensorProto) -> Option<(DataType, Vec<i32>)> {
    let kind = DataType::try_from(tensor.data_type).ok()?;
    let values = match kind {
        DataType::Uint8 if tensor.int32_data.is_empty() => {
            tensor.raw_data.iter().map(|byte| i32::from(*byte)).collect()
        }
        DataType::Uint8 => tensor.int32_data.clone(),
        DataType::Int8 => bytes(tensor)?.into_iter().map(i32::from).collect(),
        DataType::Int32 => words(tensor)?,
        _ => return None,
    };
    Some((kind, values))
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// The integer attribute `name`, or `default` where the node does not say.
pub fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

/// The float attribute `name`, or `default` where the node does not say.
pub fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |attribute| attribute.f)
}

/// Whether the list attribute `name` holds `value` everywhere; `absent` where the node does not say.
pub fn all_are(node: &NodeProto, name: &str, value: i64, absent: bool) -> bool {
    attribute(node, name).map_or(absent, |attribute| attribute.ints.iter().all(|i| *i == value))
}

/// The text attribute `name`, or `default` where the node does not say.
pub fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    attribute(node, name)
        .map_or(default, |attribute| std::str::from_utf8(&attribute.s).unwrap_or("(not text)"))
}
