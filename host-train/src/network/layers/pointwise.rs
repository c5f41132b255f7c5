//! 1x1 convolution: a weighted sum of planes. Memory-bound, so plain loops over short runs.

use super::reduce::{LANES, RUN};
use super::strips::Sizes;
use rayon::prelude::*;

/// y = weight (outputs, inputs) x + bias, per pixel.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f32> {
    mix(
        x,
        sizes.batch,
        sizes.inputs,
        sizes.outputs,
        sizes.height * sizes.width,
        |o, i| weight[o * sizes.inputs + i],
        |o| bias[o],
    )
}

/// Gradient of x: the transposed weight times the gradient of y, per pixel.
pub(super) fn input_gradient(weight: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    mix(
        gradient,
        sizes.batch,
        sizes.outputs,
        sizes.inputs,
        sizes.height * sizes.width,
        |o, i| weight[i * sizes.inputs + o],
        |_| 0.0,
    )
}

fn mix(
    from: &[f32],
    batch: usize,
    inputs: usize,
    outputs: usize,
    plane: usize,
    weight: impl Fn(usize, usize) -> f32 + Sync,
    start: impl Fn(usize) -> f32 + Sync,
) -> Vec<f32> {
    let mut to = vec![0.0; batch * outputs * plane];
    to.par_chunks_mut(plane).enumerate().for_each(|(at, to)| {
        let (image, o) = (at / outputs, at % outputs);
        for (run, to) in to.chunks_mut(RUN).enumerate() {
            to.fill(start(o));
            for i in 0..inputs {
                let from = &from[(image * inputs + i) * plane + run * RUN..][..to.len()];
                let weight = weight(o, i);
                to.iter_mut().zip(from).for_each(|(y, x)| *y += weight * x);
            }
        }
    });
    to
}

/// Gradient of the weight (outputs, inputs): dot products of planes, summed over the batch.
pub(super) fn weight_gradient(x: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    let plane = sizes.height * sizes.width;
    (0..sizes.outputs * sizes.inputs)
        .into_par_iter()
        .map(|at| {
            let (o, i) = (at / sizes.inputs, at % sizes.inputs);
            let products = (0..sizes.batch).map(|n| {
                let x = &x[(n * sizes.inputs + i) * plane..][..plane];
                let g = &gradient[(n * sizes.outputs + o) * plane..][..plane];
                dot(x, g)
            });
            products.sum::<f64>() as f32
        })
        .collect()
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    let runs = x.chunks(RUN).zip(y.chunks(RUN));
    runs.map(|(x, y)| {
        let mut lanes = [0.0f32; LANES];
        for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
            for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
                *lane += x * y;
            }
        }
        lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>()
    })
    .sum()
}
