//! The network, its losses, gradients and running statistics, and the optimiser, against PyTorch
//! (`tests/golden/network/make.py`).
#![allow(clippy::unwrap_used)]

use super::{Mode, NetworkConfig, Task, UNet};
use crate::adam::{Adam, AdamConfig};
use crate::gradients::Gradients;
use crate::loss::{FoveaLoss, masked_loss};
use candle_core::backprop::GradStore;
use candle_core::{Device, Shape, Tensor, Var};
use std::collections::HashMap;

const SIDE: usize = 32;
const BATCH: usize = 2;

fn golden(file: &str) -> HashMap<String, Tensor> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/network/");
    candle_core::safetensors::load(format!("{path}{file}"), &Device::Cpu).unwrap()
}

/// As `noise` of the script, then `f`, in double precision before rounding.
pub(crate) fn noise(shape: impl Into<Shape>, seed: u64, f: impl Fn(f64) -> f64) -> Tensor {
    let shape = shape.into();
    let values: Vec<f32> = (0..shape.elem_count() as u64)
        .map(|index| {
            let mut x = ((seed << 32) + index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
            f((x >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(crate) fn network() -> UNet {
    let config = NetworkConfig { width: 1.0 / 32.0, dropout: 0.0, ..NetworkConfig::default() };
    let net = UNet::new(&config, 0, &Device::Cpu).unwrap();
    for (at, (name, var)) in net.parameters().into_iter().chain(net.buffers()).enumerate() {
        let spread = if var.rank() > 1 { var.elem_count() / var.dims()[0] } else { 100 };
        let values = noise(var.shape().clone(), at as u64 + 1, |x| {
            if !name.contains("norm") {
                x * (6.0 / spread as f64).sqrt()
            } else if name.ends_with("weight") || name.ends_with("running_var") {
                1.0 + 0.4 * x
            } else {
                0.3 * x
            }
        });
        var.set(&values).unwrap();
    }
    net
}

fn images() -> Tensor {
    noise((BATCH, 3, SIDE, SIDE), 999, |x| (x + 1.0) / 2.0)
}

/// Values and weights; the second image has no cup.
fn target(task: Task) -> (Tensor, Tensor) {
    let shape = (BATCH, 1, SIDE, SIDE);
    let seed = 1000 + task.index() as u64;
    let labels = |second: f32| Tensor::new(&[1.0, second], &Device::Cpu).unwrap();
    match task {
        Task::Glaucoma => (labels(0.0), labels(1.0)),
        Task::Disc | Task::Cup => {
            let mask = noise(shape, seed, |x| if x > 0.5 { 1.0 } else { 0.0 });
            (mask, labels(if task == Task::Cup { 0.0 } else { 1.0 }))
        }
        Task::Fovea => (noise(shape, seed, |x| (x + 1.0) / 2.0), labels(1.0)),
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f64::from).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// Norm of the difference over the norm of the reference, or over `floor` if that is larger.
fn error(got: &Tensor, wanted: &Tensor, floor: f64) -> f64 {
    let (got, wanted) = (flat(got), flat(wanted));
    assert_eq!(got.len(), wanted.len());
    norm(got.iter().zip(&wanted).map(|(a, b)| a - b)) / norm(wanted.into_iter()).max(floor)
}

fn check_gradients(net: &UNet, task: Task, grads: &GradStore, golden: &HashMap<String, Tensor>) {
    for (name, var) in net.parameters() {
        let wanted = golden.get(&format!("{}.gradient.{name}", task.name()));
        let got = grads.get(var.as_tensor());
        assert_eq!(got.is_some(), wanted.is_some(), "{task:?}: {name}");
        if let (Some(got), Some(wanted)) = (got, wanted) {
            // A bias before a normalisation has no effect: its gradient is rounding noise on both
            // sides, to be measured against the gradient of the weight beside it.
            let floor = match name.strip_suffix(".bias") {
                Some(conv) if conv.contains(".conv") => {
                    let weight = &golden[&format!("{}.gradient.{conv}.weight", task.name())];
                    norm(flat(weight).into_iter())
                }
                _ => 0.0,
            };
            let error = error(got, wanted, floor);
            assert!(error < 1e-4, "{task:?}: gradient of {name} is off by {error:e}");
        }
    }
}

#[test]
fn a_step_of_each_task_agrees_with_pytorch() {
    let (net, images, golden) = (network(), images(), golden("network.safetensors"));
    for task in Task::ALL {
        let outputs = net.forward(&images, &[task], Mode::Train { dropout_seed: 0 }).unwrap();
        let logits = outputs.logits(task).unwrap();
        assert!(error(logits, &golden[&format!("{}.logits", task.name())], 0.0) < 1e-5);
        let (values, weights) = target(task);
        let loss = masked_loss(task, FoveaLoss::L1, logits, &values, &weights).unwrap();
        assert!(error(&loss, &golden[&format!("{}.loss", task.name())], 0.0) < 1e-5);
        check_gradients(&net, task, &outputs.backward(&loss).unwrap(), &golden);
    }
    for (name, var) in net.buffers() {
        assert!(error(&var, &golden[&format!("after.{name}")], 0.0) < 1e-5, "{name}");
    }
    let outputs = net.forward(&images, &Task::ALL, Mode::Evaluate).unwrap();
    for task in Task::ALL {
        let wanted = &golden[&format!("{}.evaluated", task.name())];
        assert!(error(outputs.logits(task).unwrap(), wanted, 0.0) < 1e-5, "{task:?}");
    }
}

/// What a resumed training stands on: the same bits whatever the number of threads.
#[test]
fn gradients_do_not_depend_on_the_threads() {
    let images = noise((BATCH, 3, 64, 48), 998, |x| (x + 1.0) / 2.0);
    let run = |threads| -> Vec<Vec<f64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let net = network();
            let mode = Mode::Train { dropout_seed: 3 };
            let outputs = net.forward(&images, &[Task::Disc], mode).unwrap();
            let logits = outputs.logits(Task::Disc).unwrap();
            let weights = Tensor::new(&[1f32, 1.0], &Device::Cpu).unwrap();
            let values = (logits.detach() * 0.0).unwrap();
            let loss = masked_loss(Task::Disc, FoveaLoss::L1, logits, &values, &weights).unwrap();
            let grads = outputs.backward(&loss).unwrap();
            let found = net.parameters().into_iter();
            let found = found.filter_map(|(_, var)| grads.get(var.as_tensor()).map(flat));
            found.chain(net.buffers().iter().map(|(_, var)| flat(var))).collect()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn five_steps_of_adam_agree_with_pytorch() {
    let golden = golden("adam.safetensors");
    let p = Var::from_tensor(&noise(64, 1, |x| x)).unwrap();
    let mut adam = Adam::new(vec![("p".to_string(), p.clone())], AdamConfig::default());
    for step in 0..5 {
        let gradient = noise(64, 10 + step, |x| x * 10f64.powi(step as i32 - 2));
        adam.step(&Gradients::from_iter([Some(gradient)]), 0.1 / (step as f64 + 1.0)).unwrap();
        assert!(error(&p, &golden[&format!("step{step}")], 0.0) < 1e-6, "step {step}");
    }
    let state = adam.state().unwrap();
    assert!(error(&state["p.mean"], &golden["mean"], 0.0) < 1e-6);
    assert!(error(&state["p.square"], &golden["square"], 0.0) < 1e-6);
}

#[test]
fn decay_clipping_and_the_encoders_rate_agree_with_pytorch() {
    let golden = golden("adamw.safetensors");
    let shapes: [(&str, &[usize]); 4] =
        [("encoder.w", &[4, 8]), ("encoder.b", &[8]), ("head.w", &[2, 8]), ("head.b", &[2])];
    let own: Vec<(String, Var)> = shapes
        .iter()
        .zip(100..)
        .map(|((name, shape), seed)| {
            let start = noise(*shape, seed, |x| x);
            ((*name).to_owned(), Var::from_tensor(&start).unwrap())
        })
        .collect();
    let config = AdamConfig {
        weight_decay: 0.1,
        clip_norm: Some(5.0),
        encoder_rate: 0.1,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(own.clone(), config);
    for step in 0..4u64 {
        let scale = 2f64.powi(step as i32);
        let seeds = 200 + 10 * step..;
        let gradients: Gradients = shapes
            .iter()
            .zip(seeds)
            .map(|((_, shape), seed)| Some(noise(*shape, seed, |x| x * scale)))
            .collect();
        let clipped = gradients.norm(|_| true).unwrap() > 5.0;
        assert_eq!(clipped, step > 0);
        adam.step(&gradients, 0.05).unwrap();
        for (name, var) in &own {
            assert!(error(var, &golden[&format!("{name}.{step}")], 0.0) < 1e-6, "{name} {step}");
        }
    }
}
