//! Finite differences and reproducible noise for the tests of the layers.
#![allow(clippy::unwrap_used)]

use crate::network::tape::Tape;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Shape, Tensor, Var};

/// Numbers in [-1, 1) that depend on the seed alone.
pub(crate) fn noise(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let values: Vec<f32> = (0..shape.elem_count())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Sum in f64 of `f(inputs)` times a fixed noise: one number that every output takes part in.
fn projection(f: &impl Fn(&Tape, &[Tensor]) -> Tensor, inputs: &[Tensor]) -> f64 {
    let y = f(&Tape::none(), inputs);
    let weights = noise(y.shape().clone(), 99).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    y.iter().zip(weights).map(|(y, w)| f64::from(*y) * f64::from(w)).sum()
}

/// The gradients of the sum of `f` times `weights` of its shape.
fn gradients_of(f: impl Fn(&Tape) -> Tensor, weights: impl Fn(Shape) -> Tensor) -> GradStore {
    // Begins at variables only.
    let tape = Tape::begin(&noise(1, 0));
    let y = tape.end(&f(&tape)).unwrap();
    let loss = (&y * weights(y.shape().clone())).unwrap().sum_all().unwrap();
    let mut grads = loss.backward().unwrap();
    tape.backward(&mut grads).unwrap();
    grads
}

/// The gradients of the sum of `f`'s elements.
pub(crate) fn gradients_of_sum(f: impl Fn(&Tape) -> Tensor) -> GradStore {
    gradients_of(f, |shape| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap())
}

/// Asserts that the tape's gradient of every element of every input agrees with the central
/// difference over `step`, within `tolerance` of the largest gradient of that input.
pub(crate) fn numeric_gradients(
    inputs: &[Tensor],
    step: f32,
    tolerance: f64,
    f: impl Fn(&Tape, &[Tensor]) -> Tensor,
) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = gradients_of(|tape| f(tape, &tracked), |shape| noise(shape, 99));
    for (k, var) in vars.iter().enumerate() {
        let grad = grads.get(var.as_tensor()).unwrap().flatten_all().unwrap();
        let grad = grad.to_vec1::<f32>().unwrap();
        let values = inputs[k].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let scale = grad.iter().fold(1e-3f64, |m, g| m.max(f64::from(g.abs())));
        for e in 0..values.len() {
            let moved = |by: f32| {
                let mut values = values.clone();
                values[e] += by;
                let mut inputs = inputs.to_vec();
                inputs[k] =
                    Tensor::from_vec(values, inputs[k].shape().clone(), &Device::Cpu).unwrap();
                projection(&f, &inputs)
            };
            let numeric = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            let error = (numeric - f64::from(grad[e])).abs();
            assert!(
                error <= tolerance * scale,
                "input {k} element {e}: tape {}, difference {numeric}",
                grad[e]
            );
        }
    }
}
