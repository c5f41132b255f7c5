//! Graphs that are recognised, and graphs that must not be. Made from the shipped model by small
//! changes, each of which another engine would honour.

#![allow(clippy::unwrap_used)]

use super::*;
use glaucoma_tests::workspace;
use tract_onnx::pb::{AttributeProto, ModelProto, TensorProto};
use tract_onnx::prelude::Framework;

fn shipped() -> GraphProto {
    let folder = workspace().join("models");
    let name = std::fs::read_to_string(folder.join("default.txt")).unwrap();
    let bytes = std::fs::read(folder.join(name.trim())).unwrap();
    let file: ModelProto = tract_onnx::onnx().proto_model_for_read(&mut &bytes[..]).unwrap();
    file.graph.unwrap()
}

fn side_of(graph: &GraphProto) -> usize {
    let file = ModelProto { graph: Some(graph.clone()), ..ModelProto::default() };
    crate::ParsedModel { file }.input_side().unwrap() as usize
}

fn read(graph: &GraphProto) -> Result<Network, Unknown> {
    recognise(graph, side_of(graph), &OutputNames::default())
}

/// The reason for which the shipped graph is not recognised after `change`.
fn refused(change: impl FnOnce(&mut GraphProto)) -> String {
    let mut graph = shipped();
    change(&mut graph);
    read(&graph).unwrap_err().to_string()
}

fn node<'a>(graph: &'a mut GraphProto, operator: &str) -> &'a mut NodeProto {
    graph.node.iter_mut().find(|node| node.op_type == operator).unwrap()
}

fn attribute<'a>(node: &'a mut NodeProto, name: &str) -> &'a mut AttributeProto {
    node.attribute.iter_mut().find(|attribute| attribute.name == name).unwrap()
}

fn constant<'a>(graph: &'a mut GraphProto, name: &str) -> &'a mut TensorProto {
    graph.initializer.iter_mut().find(|tensor| tensor.name == name).unwrap()
}

#[test]
fn the_shipped_model_is_the_network_it_says() {
    let network = read(&shipped()).unwrap();
    let convs = network.layers.iter().filter(|layer| matches!(layer, Layer::Conv { .. })).count();
    let of = |name: &str| network.maps.iter().filter(|map| map.name.ends_with(name)).count();
    assert_eq!((convs, of(".pool"), of(".up"), of(".concat")), (18, 4, 4, 4));
    assert!(network.maps.iter().all(|map| map.grid.is_some()));
    let deepest = &network.maps[network.glaucoma.input];
    assert_eq!(
        (deepest.side, deepest.channels),
        (network.side / 16, network.glaucoma.weight.len())
    );
}

#[test]
fn attributes_that_mean_another_computation_are_refused_by_name() {
    let strided = refused(|graph| {
        attribute(node(graph, "Conv"), "strides").ints = vec![2, 2];
    });
    assert!(strided.contains("encoder.stage1.conv1") && strided.contains("stride 1"), "{strided}");
    let dilated = refused(|graph| {
        let dilations = AttributeProto {
            name: "dilations".into(),
            ints: vec![2, 2],
            ..AttributeProto::default()
        };
        node(graph, "Conv").attribute.push(dilations);
    });
    assert!(dilated.contains("(Conv)"), "{dilated}");
    let unpadded = refused(|graph| {
        node(graph, "Conv").attribute.retain(|attribute| attribute.name != "pads");
    });
    assert!(unpadded.contains("keeps the side"), "{unpadded}");
    let half_pixel = refused(|graph| {
        attribute(node(graph, "Resize"), "coordinate_transformation_mode").s = b"half_pixel".into();
    });
    assert!(half_pixel.contains("aligned corners"), "{half_pixel}");
    let thirds = refused(|graph| {
        attribute(node(graph, "MaxPool"), "strides").ints = vec![1, 1];
    });
    assert!(thirds.contains("2x2 pool"), "{thirds}");
    let rows = refused(|graph| attribute(node(graph, "Concat"), "axis").i = 2);
    assert!(rows.contains("join channels"), "{rows}");
    let untransposed = refused(|graph| attribute(node(graph, "Gemm"), "transB").i = 0);
    assert!(untransposed.contains("one weighted sum"), "{untransposed}");
}

#[test]
fn unknown_operators_are_refused_by_name() {
    let error = refused(|graph| node(graph, "Relu").op_type = "LeakyRelu".into());
    assert!(error.contains("(LeakyRelu): this operator is not known"), "{error}");
}

#[test]
fn scales_that_do_not_belong_together_are_refused() {
    let name = "decoder.stage1.conv1.bias.scale";
    let bias = refused(|graph| {
        let scale = constant(graph, name);
        scale.raw_data[..4].copy_from_slice(&1.0f32.to_le_bytes());
    });
    assert!(bias.contains("other steps than its sums"), "{bias}");
    let zero = refused(|graph| constant(graph, "map.zero_point").raw_data = vec![3]);
    assert!(zero.contains("zero point"), "{zero}");
    // A pool is a copy of integers; the reader behind it would take them for other values.
    let pool = refused(|graph| {
        constant(graph, "encoder.stage4.pool.scale").raw_data = 1.0f32.to_le_bytes().to_vec();
    });
    assert!(pool.contains("other steps than its sums"), "{pool}");
    // Nothing multiplies a concatenation's first map but the concatenation's reader.
    let up = refused(|graph| {
        constant(graph, "decoder.stage1.up.scale").raw_data = 1.0f32.to_le_bytes().to_vec();
    });
    assert!(up.contains("changes the scale of a copy"), "{up}");
    for scale in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
        let wrong = refused(|graph| {
            constant(graph, "encoder.stage1.conv1.scale").raw_data = scale.to_le_bytes().to_vec();
        });
        assert!(wrong.contains("has the scale"), "{wrong}");
    }
}

#[test]
fn cut_or_wild_weights_are_refused() {
    let cut = refused(|graph| {
        constant(graph, "encoder.stage2.conv1.weight.integers").raw_data.truncate(100);
    });
    assert!(cut.contains("cut short"), "{cut}");
    let wild = refused(|graph| {
        constant(graph, "encoder.stage2.conv1.weight.integers").raw_data[0] = 0x80;
    });
    assert!(wild.contains("32 bits"), "{wild}");
    let large = refused(|graph| {
        let bias = constant(graph, "encoder.stage2.conv1.bias.integers");
        bias.raw_data[..4].copy_from_slice(&i32::MAX.to_le_bytes());
    });
    assert!(large.contains("32 bits"), "{large}");
    let not_finite = refused(|graph| {
        let weight = constant(graph, "encoder.stage1.conv1.weight");
        weight.raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(not_finite.contains("not finite"), "{not_finite}");
}

#[test]
fn a_map_read_beside_its_grid_is_refused() {
    let error = refused(|graph| {
        let pool = node(graph, "MaxPool");
        pool.input[0] = pool.input[0].replace(".real", "");
    });
    assert!(error.contains("read both from its grid and not"), "{error}");
}
