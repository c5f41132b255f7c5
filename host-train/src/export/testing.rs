//! A narrow random network and photographs for the tests of this folder, and an independent way
//! of computing the network: candle's own operators, BatchNorm unfolded.

#![allow(clippy::unwrap_used)]
// Right in the forward direction, and nothing else is asked of them here: the trainer's own
// operators would not be an independent witness.
#![allow(clippy::disallowed_methods)]

use crate::dataset::example::Example;
use candle_core::{Device, Tensor};
use glaucoma_common::manifest::{
    FORMAT, Manifest, NetworkFacts, OutputNames, Precision, Provenance,
};
use glaucoma_common::preprocess::{Framing, InputContract, Placement, ResizeFilter};
use glaucoma_common::reading::NetworkOutput;
use glaucoma_common::risk::{OperatingPoint, VcdrModel};
use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Tensors of a VGG-13 U-Net whose first stage has `width` channels; BatchNorm far from identity.
pub(crate) fn random_network(width: usize, seed: u64) -> BTreeMap<String, Tensor> {
    let mut random = Random { rng: ChaCha8Rng::seed_from_u64(seed), tensors: BTreeMap::new() };
    let widths = [width, 2 * width, 4 * width, 8 * width, 8 * width];
    let mut inputs = 3;
    for (stage, outputs) in widths.into_iter().enumerate() {
        for conv in 1..=2 {
            random.conv(&format!("encoder.stage{}", stage + 1), conv, inputs, outputs);
            inputs = outputs;
        }
    }
    for (stage, outputs) in [4 * width, 2 * width, width, width].into_iter().enumerate() {
        let skip = widths[3 - stage];
        let total = inputs + skip;
        random.conv(&format!("decoder.stage{}", stage + 1), 1, total, total / 2);
        random.conv(&format!("decoder.stage{}", stage + 1), 2, total / 2, outputs);
        inputs = outputs;
    }
    for head in ["disc", "cup", "fovea"] {
        random.uniform(&format!("head.{head}.weight"), &[1, width, 1, 1], -1.0, 1.0);
        random.uniform(&format!("head.{head}.bias"), &[1], -0.5, 0.5);
    }
    random.uniform("head.glaucoma.weight", &[1, 8 * width], -0.2, 0.2);
    random.uniform("head.glaucoma.bias", &[1], -0.5, 0.5);
    random.tensors
}

struct Random {
    rng: ChaCha8Rng,
    tensors: BTreeMap<String, Tensor>,
}

impl Random {
    fn conv(&mut self, stage: &str, number: usize, inputs: usize, outputs: usize) {
        let bound = (6.0 / (inputs as f32 * 9.0)).sqrt();
        let conv = format!("{stage}.conv{number}");
        self.uniform(&format!("{conv}.weight"), &[outputs, inputs, 3, 3], -bound, bound);
        self.uniform(&format!("{conv}.bias"), &[outputs], -0.2, 0.2);
        let norm = format!("{stage}.norm{number}");
        self.uniform(&format!("{norm}.weight"), &[outputs], 0.5, 1.5);
        self.uniform(&format!("{norm}.bias"), &[outputs], -0.3, 0.5);
        self.uniform(&format!("{norm}.running_mean"), &[outputs], -0.3, 0.3);
        self.uniform(&format!("{norm}.running_var"), &[outputs], 0.3, 2.0);
    }

    fn uniform(&mut self, name: &str, shape: &[usize], low: f32, high: f32) {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.rng.random_range(low..high)).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        self.tensors.insert(name.into(), tensor);
    }
}

/// Numbers that the tensor `name` of a BatchNorm or a head could have after a training, in the
/// shape of `tensor`.
pub(crate) fn like(tensor: &Tensor, name: &str) -> Tensor {
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut random = Random { rng: ChaCha8Rng::seed_from_u64(seed), tensors: BTreeMap::new() };
    let (low, high) = match name.rsplit('.').next() {
        Some("weight") if name.starts_with("head.") => (-0.5, 0.5),
        Some("weight") => (0.5, 1.5),
        // About the variance that the initial convolutions give: a signal neither dies nor saturates.
        Some("running_var") => (0.08, 0.3),
        _ => (-0.3, 0.3),
    };
    random.uniform(name, tensor.dims(), low, high);
    random.tensors.remove(name).unwrap()
}

/// A manifest as good as any, for photographs of `side` pixels.
pub(crate) fn manifest(side: u32, precision: Precision) -> Manifest {
    Manifest {
        format: FORMAT,
        name: "random".into(),
        version: "1".into(),
        created: "2026-01-01".into(),
        network: NetworkFacts {
            encoder: "vgg13".into(),
            width: 0.125,
            parameters: 1,
            strategy: "none".into(),
        },
        precision,
        input: InputContract {
            side,
            framing: Framing::WholeImage,
            filter: ResizeFilter::AntialiasedBilinear,
            scale: 1.0 / 255.0,
        },
        outputs: OutputNames::default(),
        decoding: Default::default(),
        anatomy: Default::default(),
        quality: Default::default(),
        vcdr_model: VcdrModel { intercept: -5.0, slope: 8.0 },
        operating_point: OperatingPoint {
            threshold: 0.5,
            sensitivity: None,
            specificity: None,
            chosen_on: "nothing".into(),
        },
        calibration: None,
        vcdr_error: None,
        max_head_disagreement: None,
        provenance: Provenance {
            trained_on: vec![],
            revision: String::new(),
            seed: 0,
            licence: "none".into(),
            credits: vec![],
            intended_use: "tests".into(),
        },
        certificates: vec![],
        self_test: None,
    }
}

/// [`photograph`] as an example of which nothing is known.
pub(crate) fn example(side: u32, seed: u64) -> Example {
    let (width, height) = (f64::from(side), f64::from(side));
    let placement = Placement { origin_x: 0.0, origin_y: 0.0, width, height, side };
    Example::unlabelled("drawn", 0, photograph(side, seed), placement)
}

/// A smooth picture with a bright disc somewhere, different for every seed.
pub(crate) fn photograph(side: u32, seed: u64) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let disc: [f32; 2] = [rng.random_range(0.2..0.8), rng.random_range(0.3..0.7)];
    let waves: [f32; 3] = [rng.random_range(3.0..9.0), rng.random_range(3.0..9.0), rng.random()];
    RgbImage::from_fn(side, side, |x, y| {
        let (u, v) = (x as f32 / side as f32, y as f32 / side as f32);
        let glow = (-((u - disc[0]).powi(2) + (v - disc[1]).powi(2)) * 40.0).exp();
        let wave = 0.1 * (waves[0] * u + 6.0 * waves[2]).sin() * (waves[1] * v).cos();
        let level = |base: f32| ((base + wave + 0.4 * glow).clamp(0.0, 1.0) * 255.0) as u8;
        Rgb([level(0.5), level(0.3), level(0.15)])
    })
}

/// The network computed without any of this folder's code.
pub(crate) fn reference(
    tensors: &BTreeMap<String, Tensor>,
    photograph: &RgbImage,
) -> NetworkOutput {
    let side = photograph.width();
    let size = side as usize;
    let input = glaucoma_common::preprocess::to_input(photograph, 1.0 / 255.0);
    let mut x = Tensor::from_vec(input, (1, 3, size, size), &Device::Cpu).unwrap();
    let mut skips = Vec::new();
    for stage in 1..=5 {
        if stage > 1 {
            skips.push(x.clone());
            x = x.max_pool2d(2).unwrap();
        }
        x = stage_reference(tensors, &format!("encoder.stage{stage}"), x);
    }
    let pooled = x.flatten_from(2).unwrap().max(2).unwrap();
    let weight = &tensors["head.glaucoma.weight"];
    let glaucoma = pooled.matmul(&weight.t().unwrap()).unwrap();
    let glaucoma = glaucoma.broadcast_add(&tensors["head.glaucoma.bias"]).unwrap();
    for stage in 1..=4 {
        let (_, _, height, width) = x.dims4().unwrap();
        let up = x.upsample_bilinear2d(2 * height, 2 * width, true).unwrap();
        x = Tensor::cat(&[up, skips.pop().unwrap()], 1).unwrap();
        x = stage_reference(tensors, &format!("decoder.stage{stage}"), x);
    }
    let map = |head: &str| {
        let logits = conv_reference(tensors, &format!("head.{head}"), &x, 0);
        values(&candle_nn::ops::sigmoid(&logits).unwrap())
    };
    NetworkOutput {
        side,
        glaucoma: values(&candle_nn::ops::sigmoid(&glaucoma).unwrap())[0],
        disc: map("disc"),
        cup: map("cup"),
        fovea: map("fovea"),
    }
}

fn stage_reference(tensors: &BTreeMap<String, Tensor>, stage: &str, mut x: Tensor) -> Tensor {
    for number in 1.. {
        let conv = format!("{stage}.conv{number}");
        if !tensors.contains_key(&format!("{conv}.weight")) {
            break;
        }
        x = conv_reference(tensors, &conv, &x, 1);
        let of = |name: &str| {
            let tensor = &tensors[&format!("{stage}.norm{number}.{name}")];
            tensor.reshape((1, (), 1, 1)).unwrap()
        };
        let deviation = (of("running_var") + 1e-5).unwrap().sqrt().unwrap();
        x = x.broadcast_sub(&of("running_mean")).unwrap().broadcast_div(&deviation).unwrap();
        x = x.broadcast_mul(&of("weight")).unwrap().broadcast_add(&of("bias")).unwrap();
        x = x.relu().unwrap();
    }
    x
}

fn conv_reference(
    tensors: &BTreeMap<String, Tensor>,
    name: &str,
    x: &Tensor,
    padding: usize,
) -> Tensor {
    let weight = &tensors[&format!("{name}.weight")];
    let bias = tensors[&format!("{name}.bias")].reshape((1, (), 1, 1)).unwrap();
    x.conv2d(weight, padding, 1, 1, 1).unwrap().broadcast_add(&bias).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
