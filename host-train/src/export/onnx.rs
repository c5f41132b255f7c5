//! Writes the network as an ONNX file: plain f32, with weights stored in f16 (a Cast behind each), or
//! with the quantised maps and weights in QDQ form (a pair QuantizeLinear, DequantizeLinear behind every map, a DequantizeLinear behind
//! every stored integer weight), which means the same to every engine whether or not it computes
//! with integers.

use super::fold::{Conv, FoldedNetwork};
use super::plan::{IMAGE, OUTPUTS, Step, plan};
use super::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, ShapeProto, StringStringEntryProto, TensorProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use super::quantize::Quantization;
use half::f16;
use prost::Message;

/// The operator set that the nodes are of.
pub const OPSET: i64 = 17;
/// The version of the file format.
pub const IR_VERSION: i64 = 8;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Graph<'a> {
    /// The weights.
    pub network: &'a FoldedNetwork,
    /// The photograph's side in network pixels.
    pub side: u32,
    /// What its numbers are stored as.
    pub numbers: Numbers<'a>,
    /// Maps that become outputs too, behind the four of the network (for calibration).
    pub extra_outputs: &'a [String],
}

/// What weights and maps are stored as.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// 32-bit floating point.
    F32,
    /// Weights of more than one dimension in 16-bit floating point; computed with in 32.
    F16Weights,
    /// These integers.
    Int8(&'a Quantization),
}

/// The file's bytes, with `metadata` as (key, value) pairs.
#[must_use]
pub fn encode(graph: &Graph<'_>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
    };
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(Writer::new(graph.numbers).write(graph)),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.iter().map(entry).collect(),
    }
    .encode_to_vec()
}

/// The file without its metadata, as [`encode`] would have written it.
///
/// # Errors
/// Bytes that are no ONNX file.
pub fn without_metadata(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    let mut file = ModelProto::decode(bytes)?;
    file.metadata_props.clear();
    Ok(file.encode_to_vec())
}

/// The file with `value` under `key` of its metadata instead of what was there, and nothing else changed.
/// `None` where the file is not one that [`encode`] wrote: something in it would be lost.
///
/// # Errors
/// Bytes that are no ONNX file.
pub fn with_metadata(
    bytes: &[u8],
    key: &str,
    value: &str,
) -> Result<Option<Vec<u8>>, prost::DecodeError> {
    let mut file = ModelProto::decode(bytes)?;
    if file.encode_to_vec() != bytes {
        return Ok(None);
    }
    file.metadata_props.retain(|entry| entry.key != key);
    file.metadata_props.push(StringStringEntryProto { key: key.into(), value: value.into() });
    Ok(Some(file.encode_to_vec()))
}

/// Collects nodes and constants while the plan is walked.
struct Writer<'a> {
    numbers: Numbers<'a>,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl<'a> Writer<'a> {
    fn new(numbers: Numbers<'a>) -> Self {
        Self { numbers, nodes: Vec::new(), constants: Vec::new() }
    }

    fn quantization(&self) -> Option<&'a Quantization> {
        match self.numbers {
            Numbers::Int8(quantization) => Some(quantization),
            Numbers::F32 | Numbers::F16Weights => None,
        }
    }

    fn write(mut self, graph: &Graph<'_>) -> GraphProto {
        self.shared_constants();
        for step in plan(graph.network) {
            self.step(&step);
        }
        let side = i64::from(graph.side);
        let [glaucoma, maps @ ..] = OUTPUTS;
        let mut outputs = vec![value_info(glaucoma, Some(&[1, 1]))];
        outputs.extend(maps.map(|map| value_info(map, Some(&[1, 1, side, side]))));
        outputs.extend(graph.extra_outputs.iter().map(|map| value_info(map, None)));
        GraphProto {
            node: self.nodes,
            name: "glaucoma".into(),
            initializer: self.constants,
            input: vec![value_info(IMAGE, Some(&[1, 3, side, side]))],
            output: outputs,
        }
    }

    fn shared_constants(&mut self) {
        self.f32s("resize.scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
        if let Some(quantization) = self.quantization() {
            self.i8s("map.zero_point", &[], &[quantization.levels.zero_point()]);
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Conv { input, conv } => {
                let sums = format!("{}.sums", conv.name);
                self.conv(input, conv, &sums);
                self.node("Relu", vec![sums], &conv.name, vec![]);
                self.quantize_map(&conv.name);
            }
            Step::Pool { input, output } => {
                let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
                self.node("MaxPool", vec![self.readable(input)], output, attributes);
                self.quantize_map(output);
            }
            Step::Upsample { input, output } => {
                let inputs = vec![self.readable(input), String::new(), "resize.scales".into()];
                let attributes = vec![
                    text("coordinate_transformation_mode", "align_corners"),
                    text("mode", "linear"),
                ];
                self.node("Resize", inputs, output, attributes);
                self.quantize_map(output);
            }
            Step::Concat { inputs: [up, skip], output } => {
                let inputs = vec![self.readable(up), self.readable(skip)];
                self.node("Concat", inputs, output, vec![int("axis", 1)]);
                self.quantize_map(output);
            }
            Step::MapHead { input, conv, output } => {
                let logits = format!("{output}.logits");
                self.conv(input, conv, &logits);
                self.node("Sigmoid", vec![logits], output, vec![]);
            }
            Step::ClassHead { input, conv, output } => self.class_head(input, conv, output),
        }
    }

    fn class_head(&mut self, input: &str, conv: &Conv, output: &str) {
        let (pooled, flat) = (format!("{output}.largest"), format!("{output}.features"));
        self.node("GlobalMaxPool", vec![self.readable(input)], &pooled, vec![]);
        self.node("Flatten", vec![pooled], &flat, vec![int("axis", 1)]);
        let (weight, bias) = (format!("{}.weight", conv.name), format!("{}.bias", conv.name));
        self.weights(&weight, &[1, conv.inputs], &conv.weight);
        self.f32s(&bias, &[1], &conv.bias);
        let logits = format!("{output}.logits");
        self.node("Gemm", vec![flat, weight, bias], &logits, vec![int("transB", 1)]);
        self.node("Sigmoid", vec![logits], output, vec![]);
    }

    /// A convolution that keeps the side.
    fn conv(&mut self, input: &str, conv: &Conv, output: &str) {
        let (weight, bias) = (format!("{}.weight", conv.name), format!("{}.bias", conv.name));
        let shape = [conv.outputs, conv.inputs, conv.kernel, conv.kernel];
        match self.quantization().and_then(|quantization| quantization.convs.get(&conv.name)) {
            Some(integers) => {
                let stored = (format!("{weight}.integers"), format!("{weight}.scale"));
                self.i8s(&stored.0, &shape, &integers.weight);
                self.f32s(&stored.1, &[conv.outputs], &integers.weight_scale);
                self.node(
                    "DequantizeLinear",
                    vec![stored.0, stored.1],
                    &weight,
                    vec![int("axis", 0)],
                );
                let stored = (format!("{bias}.integers"), format!("{bias}.scale"));
                self.i32s(&stored.0, &[conv.outputs], &integers.bias);
                self.f32s(&stored.1, &[conv.outputs], &integers.bias_scale);
                self.node(
                    "DequantizeLinear",
                    vec![stored.0, stored.1],
                    &bias,
                    vec![int("axis", 0)],
                );
            }
            None => {
                self.weights(&weight, &shape, &conv.weight);
                self.f32s(&bias, &[conv.outputs], &conv.bias);
            }
        }
        let (kernel, pad) = (conv.kernel as i64, (conv.kernel / 2) as i64);
        let attributes = vec![
            ints("kernel_shape", &[kernel, kernel]),
            ints("pads", &[pad, pad, pad, pad]),
            ints("strides", &[1, 1]),
        ];
        self.node("Conv", vec![self.readable(input), weight, bias], output, attributes);
    }

    /// Puts a map on its grid of integers and back, where it has a scale.
    fn quantize_map(&mut self, map: &str) {
        let Some(&scale) =
            self.quantization().and_then(|quantization| quantization.map_scale.get(map))
        else {
            return;
        };
        let (scale_name, zero) = (format!("{map}.scale"), "map.zero_point".to_string());
        self.f32s(&scale_name, &[], &[scale]);
        let integers = format!("{map}.integers");
        let inputs = vec![map.to_string(), scale_name.clone(), zero.clone()];
        self.node("QuantizeLinear", inputs, &integers, vec![]);
        let back = self.readable(map);
        self.node("DequantizeLinear", vec![integers, scale_name, zero], &back, vec![]);
    }

    /// The name under which a map is read: from its grid where it has one.
    fn readable(&self, map: &str) -> String {
        let quantized = self.quantization().is_some_and(|q| q.map_scale.contains_key(map));
        if quantized { format!("{map}.real") } else { map.to_string() }
    }

    fn node(
        &mut self,
        op: &str,
        inputs: Vec<String>,
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input: inputs,
            output: vec![output.into()],
            name: format!("{output}/{op}"),
            op_type: op.into(),
            attribute,
        });
    }

    /// Weights that are no integers: as they are, or in half the bytes and a Cast behind.
    fn weights(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        if !matches!(self.numbers, Numbers::F16Weights) {
            return self.f32s(name, shape, values);
        }
        let stored = format!("{name}.halves");
        let halves = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        self.constant(&stored, shape, DataType::Float16, halves);
        self.node("Cast", vec![stored], name, vec![int("to", DataType::Float as i64)]);
    }

    fn f32s(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, shape, DataType::Float, bytes);
    }

    fn i8s(&mut self, name: &str, shape: &[usize], values: &[i8]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, shape, DataType::Int8, bytes);
    }

    fn i32s(&mut self, name: &str, shape: &[usize], values: &[i32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, shape, DataType::Int32, bytes);
    }

    fn constant(&mut self, name: &str, shape: &[usize], data_type: DataType, raw_data: Vec<u8>) {
        self.constants.push(TensorProto {
            dims: shape.iter().map(|side| *side as i64).collect(),
            data_type: data_type.into(),
            name: name.into(),
            raw_data,
        });
    }
}

fn value_info(name: &str, shape: Option<&[i64]>) -> ValueInfoProto {
    let shape = shape.map(|sides| ShapeProto {
        dim: sides.iter().map(|side| DimensionProto { dim_value: Some(*side) }).collect(),
    });
    let tensor_type = TensorTypeProto { elem_type: DataType::Float.into(), shape };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind.into(), ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.into()), ..attribute(name, AttributeType::String) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::calibrate::observe;
    use crate::export::engine::Engine;
    use crate::export::fold::fold;
    use crate::export::quantize::{Scheme, quantize};
    use crate::export::testing::{photograph, random_network, reference};
    use crate::network::grid::{Clipping, Levels};
    use glaucoma_common::reading::NetworkOutput;

    const SCALE: f32 = 1.0 / 255.0;

    fn largest_difference(a: &NetworkOutput, b: &NetworkOutput) -> f32 {
        let maps = [(&a.disc, &b.disc), (&a.cup, &b.cup), (&a.fovea, &b.fovea)];
        let maps = maps.iter().flat_map(|(a, b)| {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs())
        });
        maps.fold((a.glaucoma - b.glaucoma).abs(), f32::max)
    }

    #[test]
    fn written_f32_file_computes_the_unfolded_network() {
        for (width, side, seed) in [(4, 32, 1), (8, 48, 2), (6, 64, 3)] {
            let tensors = random_network(width, seed);
            let network = fold(&tensors).unwrap();
            let graph =
                Graph { network: &network, side, numbers: Numbers::F32, extra_outputs: &[] };
            let engine = Engine::load(&encode(&graph, &[("key", "value")])).unwrap();
            assert_eq!((engine.side(), engine.metadata("key")), (side, Some("value".into())));
            let photograph = photograph(side, seed);
            let written = engine.run(&photograph, SCALE).unwrap();
            let difference = largest_difference(&written, &reference(&tensors, &photograph));
            println!("width {width}, side {side}: {difference:e}");
            assert!(difference < 1e-5, "width {width}, side {side}: {difference:e}");
        }
    }

    /// Weights are read back as the f16 numbers next to them, and nothing else changes: the file is
    /// that of a network whose weights are those numbers.
    #[test]
    fn f16_file_computes_with_rounded_weights() {
        let (side, tensors) = (48, random_network(8, 2));
        let mut network = fold(&tensors).unwrap();
        let graph =
            Graph { network: &network, side, numbers: Numbers::F16Weights, extra_outputs: &[] };
        let (halves, whole) =
            (encode(&graph, &[]), encode(&Graph { numbers: Numbers::F32, ..graph }, &[]));
        assert!(halves.len() * 10 < whole.len() * 6, "{} of {}", halves.len(), whole.len());
        let photograph = photograph(side, 2);
        let found = Engine::load(&halves).unwrap().run(&photograph, SCALE).unwrap();
        let round = |conv: &mut Conv| {
            conv.weight.iter_mut().for_each(|weight| *weight = f16::from_f32(*weight).to_f32());
        };
        network.encoder.iter_mut().chain(&mut network.decoder).flatten().for_each(round);
        network.maps.iter_mut().chain([&mut network.glaucoma]).for_each(round);
        let graph = Graph { network: &network, side, numbers: Numbers::F32, extra_outputs: &[] };
        let rounded = Engine::load(&encode(&graph, &[])).unwrap();
        let difference = largest_difference(&found, &rounded.run(&photograph, SCALE).unwrap());
        assert!(difference < 1e-6, "{difference:e}");
        let exact = Engine::load(&whole).unwrap().run(&photograph, SCALE).unwrap();
        assert!(largest_difference(&found, &exact) > 1e-6, "the weights were not rounded");
    }

    #[test]
    fn quantised_file_stays_near_the_f32_file() {
        let side = 64;
        let tensors = random_network(8, 5);
        let network = fold(&tensors).unwrap();
        let photographs: Vec<_> = (0..4).map(|seed| photograph(side, seed)).collect();
        let observed = observe(&network, side, SCALE, &photographs).unwrap();
        let graph = Graph { network: &network, side, numbers: Numbers::F32, extra_outputs: &[] };
        let f32_bytes = encode(&graph, &[]);
        let exact = Engine::load(&f32_bytes).unwrap();
        for levels in [Levels::Half, Levels::Full] {
            for clipping in Clipping::CANDIDATES {
                let scheme = Scheme::uniform(&observed, levels, clipping);
                let scales = scheme.scales(&observed).unwrap();
                let quantization = quantize(&network, levels, &scales).unwrap();
                let graph = Graph { numbers: Numbers::Int8(&quantization), ..graph };
                let bytes = encode(&graph, &[]);
                let engine = Engine::load(&bytes).unwrap();
                let difference = photographs
                    .iter()
                    .map(|photograph| {
                        let exact = exact.run(photograph, SCALE).unwrap();
                        largest_difference(&exact, &engine.run(photograph, SCALE).unwrap())
                    })
                    .fold(0.0, f32::max);
                println!(
                    "{levels:?} {clipping}: {difference}, {} of {}",
                    bytes.len(),
                    f32_bytes.len()
                );
                assert!(difference < 0.1, "{levels:?}, {clipping}: {difference}");
                assert!(bytes.len() < f32_bytes.len() / 3);
            }
        }
    }
}
