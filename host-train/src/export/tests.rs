//! The export of random networks, every precision; what is refused.

#![allow(clippy::unwrap_used)]

use super::agreement::Agreement;
use super::testing::{example, like, manifest, photograph, random_network, reference};
use super::*;
use crate::evaluation::predict;
use crate::network::layers::fake_quant::fake_quant_weight;
use crate::network::quantize_aware::QuantizeAware;
use crate::network::tape::Tape;
use crate::network::{Encoder, NetworkConfig};
use candle_core::Device;

/// Bounds for a random network, whose maps have edges everywhere.
const LOOSE: Bounds = Bounds {
    glaucoma_max: 0.05,
    glaucoma_mean: 0.05,
    map_max: 0.15,
    map_mean: 0.02,
    pixels_differing: 0.1,
    disc_dice: 0.8,
    cup_dice: 0.8,
    vcdr_difference: 0.2,
    fovea_shift_share: 0.01,
    flipped_decisions: 1.0,
    ..Bounds::INT8
};

fn export_random(precision: Precision, bounds: Bounds) -> Result<Bundle, ExportError> {
    let side = 32;
    let tensors = random_network(8, 11);
    let calibration: Vec<_> = (0..6).map(|seed| photograph(side, seed)).collect();
    let examples: Vec<_> = (100..104).map(|seed| example(side, seed)).collect();
    let cases: Vec<_> =
        examples.iter().map(|example| Case { example, class_only: false }).collect();
    let job = Job {
        tensors: &tensors,
        manifest: manifest(side, precision),
        calibration: &calibration,
        map_scales: None,
        cases: &cases,
        measured_on: "4 synthetic pictures",
        bounds,
    };
    export(&job, &|photograph| Ok(reference(&tensors, photograph)))
}

/// The trainer's own network, both encoders, its BatchNorms as different as after a training.
#[test]
fn written_f32_file_is_the_trainers_network() {
    for (encoder, width, side) in [(Encoder::Vgg13, 0.125, 64), (Encoder::Vgg16, 0.0625, 48)] {
        let config = NetworkConfig { encoder, width, ..NetworkConfig::default() };
        let network = UNet::new(&config, 7, &Device::Cpu).unwrap();
        for (name, var) in network.parameters().into_iter().chain(network.buffers()) {
            if name.contains(".norm") || name.starts_with("head.") {
                var.set(&like(&var, &name)).unwrap();
            }
        }
        let photograph = photograph(side, 3);
        let expected = predict(&network, &photograph, &Device::Cpu).unwrap();
        let folded = fold(&network_tensors(&network)).unwrap();
        let graph = Graph { network: &folded, side, numbers: Numbers::F32, extra_outputs: &[] };
        let engine = Engine::load(&encode(&graph, &[])).unwrap();
        let mut agreement = Agreement::new(Default::default());
        agreement.add(&expected, &engine.run(&photograph, 1.0 / 255.0).unwrap());
        let figures = agreement.figures();
        for head in ["glaucoma", "disc", "cup", "fovea"] {
            let difference = figures[&format!("{head}.max")];
            assert!(difference <= 1e-5, "{encoder:?} {head}: {difference:e}");
        }
        let spread = |map: &[f32]| {
            let of = |pick: fn(f32, f32) -> f32| map.iter().copied().reduce(pick).unwrap();
            of(f32::max) - of(f32::min)
        };
        let spread = spread(&expected.disc);
        assert!(spread > 0.01, "a flat map would agree with anything: {spread}");
    }
}

#[test]
fn f32_bundle_is_certified_and_carries_its_manifest() {
    let bundle = export_random(Precision::F32, Bounds::F32).unwrap();
    let engine = Engine::load(&bundle.bytes).unwrap();
    let json = engine.metadata(METADATA_KEY).unwrap();
    assert_eq!(json, bundle.manifest.to_json().unwrap());
    let parity = &bundle.manifest.certificates[0];
    assert_eq!((parity.name.as_str(), parity.n), ("trainer parity", 4));
    assert!(parity.values["disc.max"] < 1e-5, "{:?}", parity.values);
}

#[test]
fn int8_bundle_is_certified_and_small() {
    let bundle = export_random(Precision::Int8Qdq, LOOSE).unwrap();
    let exact = export_random(Precision::F32, Bounds::F32).unwrap();
    println!("{:#?}", bundle.manifest.certificates);
    assert!(bundle.bytes.len() * 3 < exact.bytes.len());
    assert!(bundle.manifest.certificates[0].values["disc.mean"] > 0.0);
}

#[test]
fn f16_bundle_is_certified_and_half_as_large() {
    let bundle = export_random(Precision::F16Weights, Bounds::F16_WEIGHTS).unwrap();
    let exact = export_random(Precision::F32, Bounds::F32).unwrap();
    assert!(bundle.bytes.len() * 10 < exact.bytes.len() * 6);
    let parity = &bundle.manifest.certificates[0].values;
    assert!(parity["disc.max"] > 1e-6, "the weights were not rounded: {parity:?}");
}

/// Every bundle answers its own self-test, and not that of a network which differs by a little.
#[test]
fn the_self_test_knows_its_own_file() {
    let bundle = export_random(Precision::F32, Bounds::F32).unwrap();
    let test = bundle.manifest.self_test.unwrap();
    let answer = |bytes: &[u8]| {
        let engine = Engine::load(bytes).unwrap();
        engine.run(&picture(engine.side()), 1.0 / 255.0).unwrap()
    };
    assert_eq!(test.check(&answer(&bundle.bytes)), Ok(()));
    let mut network = fold(&random_network(8, 11)).unwrap();
    network.maps[1].bias[0] += 0.01;
    let graph = Graph { network: &network, side: 32, numbers: Numbers::F32, extra_outputs: &[] };
    let error = test.check(&answer(&encode(&graph, &[]))).unwrap_err().to_string();
    assert!(error.contains("cup.mean"), "{error}");
}

/// A network that computes on grids and the int8 file of it differ by rounding alone.
#[test]
fn a_quantisation_aware_network_is_its_int8_file() {
    let side = 64;
    let config = NetworkConfig { width: 0.125, ..NetworkConfig::default() };
    for levels in [Levels::Half, Levels::Full] {
        let mut network = UNet::new(&config, 7, &Device::Cpu).unwrap();
        for (name, var) in network.parameters().into_iter().chain(network.buffers()) {
            if name.contains(".norm") || name.starts_with("head.") {
                var.set(&like(&var, &name)).unwrap();
            }
        }
        let photographs: Vec<_> = (0..4).map(|seed| photograph(side, seed)).collect();
        let float = photographs.iter().map(|one| predict(&network, one, &Device::Cpu).unwrap());
        let float: Vec<_> = float.collect();
        let inputs: Vec<f32> = photographs
            .iter()
            .flat_map(|one| glaucoma_common::preprocess::to_input(one, 1.0 / 255.0))
            .collect();
        let shape = (4, 3, side as usize, side as usize);
        let images = Tensor::from_vec(inputs, shape, &Device::Cpu).unwrap();
        let options = QuantizeAware { levels, ..QuantizeAware::default() };
        network.quantize_aware(&images, &options).unwrap();
        let folded = fold(&network_tensors(&network)).unwrap();
        let MapScales { levels, scales } = network.map_scales().unwrap();
        let quantization = quantize(&folded, *levels, scales).unwrap();
        // What it was trained on is what is written: each weight of the rounded network, folded, is
        // its integer times its channel's step.
        let rounded = fold(&on_their_grids(&network)).unwrap();
        let (mut compared, mut elsewhere) = (0, 0);
        for conv in rounded.convs() {
            let Some(written) = quantization.convs.get(&conv.name) else { continue };
            let channels = conv.weight.chunks_exact(conv.weights_per_output());
            let integers = written.weight.chunks_exact(conv.weights_per_output());
            for ((trained, integers), scale) in channels.zip(integers).zip(&written.weight_scale) {
                for (trained, integer) in trained.iter().zip(integers) {
                    let off = (trained / scale - f32::from(*integer)).abs();
                    // A weight halfway between two steps may go either way.
                    assert!(off < 1.001, "{}: {off} steps", conv.name);
                    elsewhere += usize::from(off > 1e-3);
                    compared += 1;
                }
            }
        }
        assert!(compared > 50_000 && elsewhere * 1000 < compared, "{elsewhere} of {compared}");
        // Untrained layers spread a sum that is rounded the other way over the whole map: no more
        // can be asked of the outputs than that they lie as near as rounding itself.
        let numbers = Numbers::Int8(&quantization);
        let graph = Graph { network: &folded, side, numbers, extra_outputs: &[] };
        let engine = Engine::load(&encode(&graph, &[])).unwrap();
        let mut apart = Agreement::new(Default::default());
        let mut rounding = Agreement::new(Default::default());
        for (photograph, float) in photographs.iter().zip(&float) {
            let trainer = predict(&network, photograph, &Device::Cpu).unwrap();
            let file = engine.run(photograph, 1.0 / 255.0).unwrap();
            apart.add(&trainer, &file);
            rounding.add(float, &file);
        }
        let (apart, rounding) = (apart.figures(), rounding.figures());
        for figure in ["glaucoma.mean", "disc.mean", "cup.mean", "fovea.mean"] {
            let (apart, rounding) = (apart[figure], rounding[figure]);
            println!("{levels:?} {figure}: {apart:e} of {rounding:e}");
            let most = 1.5 * rounding + 1e-5;
            assert!(apart < most, "{levels:?} {figure}: {apart:e} of {rounding:e}");
        }
    }
}

/// The network's tensors with the weights that its file holds as integers rounded as in training.
fn on_their_grids(network: &UNet) -> BTreeMap<String, Tensor> {
    let mut tensors = network_tensors(network);
    for (name, tensor) in &mut tensors {
        let integer = name.contains(".conv")
            && name.ends_with(".weight")
            && !name.starts_with("encoder.stage1.conv1");
        if integer {
            *tensor = fake_quant_weight(&Tape::none(), tensor).unwrap();
        }
    }
    tensors
}

#[test]
fn a_file_outside_its_bounds_is_refused_by_name() {
    let error = export_random(Precision::Int8Qdq, Bounds::F32).unwrap_err();
    let ExportError::Certify(CertifyError::OutOfBounds(figures)) = &error else {
        panic!("{error}");
    };
    assert!(figures.iter().any(|figure| figure.starts_with("glaucoma.max")), "{figures:?}");
}

#[test]
fn no_photographs_no_bundle() {
    let tensors = random_network(4, 1);
    let job = Job {
        tensors: &tensors,
        manifest: manifest(32, Precision::Int8Qdq),
        calibration: &[],
        map_scales: None,
        cases: &[],
        measured_on: "",
        bounds: Bounds::INT8,
    };
    let trainer = |photograph: &RgbImage| Ok(reference(&tensors, photograph));
    assert!(matches!(export(&job, &trainer), Err(ExportError::NoCalibration)));
    let job = Job { manifest: manifest(32, Precision::F32), ..job };
    let error = export(&job, &trainer).unwrap_err();
    assert!(matches!(error, ExportError::Certify(CertifyError::NoPhotographs)));
    let job = Job { manifest: manifest(40, Precision::F32), ..job };
    let error = export(&job, &trainer).unwrap_err();
    assert!(matches!(error, ExportError::Side { side: 40, multiple: 16 }));
}
