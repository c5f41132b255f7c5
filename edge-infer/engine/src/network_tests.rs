//! A small network with random weights, as one fused operator in every form and on tract's own
//! operators.

#![allow(clippy::unwrap_used)]

use glaucoma_common::manifest::OutputNames;
use glaucoma_common::reading::NetworkOutput;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::*;

use crate::{Engine, EngineKind, Form, Options, ParsedModel};

/// Side of the photograph: the first maps are made in tiles of 4x4 pixels, those of half the side in
/// tiles of 2x2.
const SIDE: usize = 64;

/// A graph under construction, and the state of its random numbers.
struct Draft {
    graph: GraphProto,
    state: u32,
}

impl Draft {
    /// Uniform within ±1 (a linear congruential generator).
    fn random(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.iter().map(|side| *side as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            name: output.into(),
            op_type: op.into(),
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: vec![output.into()],
            attribute,
            ..NodeProto::default()
        });
    }

    /// Random weights and bias under `name`, so large that a map's values stay of one size.
    fn weights(&mut self, name: &str, dims: &[usize]) {
        let fan: usize = dims[1..].iter().product();
        let spread = (6.0 / fan as f32).sqrt();
        let weight: Vec<f32> = (0..fan * dims[0]).map(|_| self.random() * spread).collect();
        self.constant(&format!("{name}.weight"), dims, &weight);
        let bias: Vec<f32> = (0..dims[0]).map(|_| self.random() * 0.1).collect();
        self.constant(&format!("{name}.bias"), &dims[..1], &bias);
    }

    /// A convolution `sums` and what follows it, from `inputs` to `outputs` channels.
    fn conv(&mut self, input: &str, name: &str, inputs: usize, outputs: usize, then: &str) {
        let kernel = if then == "Relu" { 3 } else { 1 };
        self.weights(name, &[outputs, inputs, kernel, kernel]);
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let sums = format!("{name}.sums");
        let pad = (kernel / 2) as i64;
        let attributes = vec![
            ints("kernel_shape", &[kernel as i64; 2]),
            ints("pads", &[pad; 4]),
            ints("strides", &[1; 2]),
        ];
        self.node("Conv", &[input, &weight, &bias], &sums, attributes);
        self.node(then, &[&sums], name, vec![]);
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::String as i32,
        s: value.into(),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn tensor(name: &str, sides: &[usize]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = sides.iter().map(|side| Dimension {
        value: Some(Value::DimValue(*side as i64)),
        ..Dimension::default()
    });
    let shape = TensorShapeProto { dim: dim.collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// One stage down and one up; the last convolution reads two maps, no number of channels but one is
/// a multiple of 16.
fn small_network() -> ParsedModel {
    let mut draft = Draft { graph: GraphProto::default(), state: 7 };
    draft.conv("image", "top.conv1", 3, 20, "Relu");
    draft.conv("top.conv1", "top.conv2", 20, 24, "Relu");
    let halves = vec![ints("kernel_shape", &[2; 2]), ints("strides", &[2; 2])];
    draft.node("MaxPool", &["top.conv2"], "pool", halves);
    draft.conv("pool", "deep.conv1", 24, 40, "Relu");
    draft.conv("deep.conv1", "deep.conv2", 40, 48, "Relu");
    draft.constant("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let linear =
        vec![text("coordinate_transformation_mode", "align_corners"), text("mode", "linear")];
    draft.node("Resize", &["deep.conv2", "", "scales"], "up", linear);
    draft.node("Concat", &["up", "top.conv2"], "concat", vec![int("axis", 1)]);
    draft.conv("concat", "last", 72, 33, "Relu");
    for head in ["disc", "cup", "fovea"] {
        draft.conv("last", head, 33, 1, "Sigmoid");
        draft.graph.output.push(tensor(head, &[1, 1, SIDE, SIDE]));
    }
    draft.node("GlobalMaxPool", &["deep.conv2"], "largest", vec![]);
    draft.node("Flatten", &["largest"], "features", vec![int("axis", 1)]);
    draft.weights("class", &[1, 48]);
    let inputs = ["features", "class.weight", "class.bias"];
    draft.node("Gemm", &inputs, "logit", vec![int("transB", 1)]);
    draft.node("Sigmoid", &["logit"], "glaucoma", vec![]);
    draft.graph.output.push(tensor("glaucoma", &[1, 1]));
    draft.graph.input.push(tensor("image", &[1, 3, SIDE, SIDE]));
    let opset = OperatorSetIdProto { version: 17, ..OperatorSetIdProto::default() };
    ParsedModel {
        file: ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(draft.graph),
            ..ModelProto::default()
        },
    }
}

fn run(model: &ParsedModel, options: &Options, image: &[f32]) -> NetworkOutput {
    let engine = Engine::new(model, SIDE as u32, &OutputNames::default(), options).unwrap();
    assert_eq!(engine.not_fused(), None);
    engine.run(image).unwrap()
}

#[test]
fn the_fused_network_agrees_with_stock_operators() {
    let model = small_network();
    let mut draft = Draft { graph: GraphProto::default(), state: 11 };
    let image: Vec<f32> = (0..3 * SIDE * SIDE).map(|_| draft.random()).collect();
    let stock = Options { kind: EngineKind::Stock, ..Options::default() };
    let expected = run(&model, &stock, &image);
    let spread =
        |map: &[f32]| map.iter().fold(0.0, |most: f32, value| most.max((value - map[0]).abs()));
    assert!([&expected.disc, &expected.cup, &expected.fovea].iter().all(|map| spread(map) > 0.1));
    for (form, threads) in Form::available().into_iter().flat_map(|form| [(form, 1), (form, 3)]) {
        let made = run(&model, &Options { kind: EngineKind::Fused, threads, form }, &image);
        let pairs = [
            (&made.disc, &expected.disc),
            (&made.cup, &expected.cup),
            (&made.fovea, &expected.fovea),
        ];
        assert!((made.glaucoma - expected.glaucoma).abs() < 1e-5, "{form:?}");
        for (made, expected) in pairs {
            let errors = made.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let worst = errors.fold(0.0, f32::max);
            assert!(worst < 1e-5, "{form:?} on {threads} threads: {worst}");
        }
    }
}
