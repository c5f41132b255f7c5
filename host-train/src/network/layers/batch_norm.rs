//! Batch normalisation followed by ReLU, in two passes each way.
//!
//! Ioffe & Szegedy 2015; the same numbers as PyTorch's `BatchNorm2d` (eps 1e-5, momentum 0.1,
//! running variance from the unbiased estimate) and `ReLU` (gradient 0 at 0).

use super::reduce::{Moments, RUN, sum};
use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

/// Added to the variance under the root.
pub const EPSILON: f64 = 1e-5;
/// Share of a batch's statistics in the running ones.
pub const MOMENTUM: f64 = 0.1;

/// Scale, shift and running statistics of one normalisation, each of shape (C).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Scale, trained (gamma).
    pub weight: Var,
    /// Shift, trained (beta).
    pub bias: Var,
    /// Mean of the channel over past batches.
    pub running_mean: Var,
    /// Unbiased variance of the channel over past batches.
    pub running_var: Var,
}

impl BatchNorm {
    /// Moves the running statistics towards those of a batch.
    pub(super) fn follow(&self, batch: &[Statistics]) -> Result<()> {
        let means = batch.iter().map(|s| s.mean as f32).collect();
        let unbiased = |s: &Statistics| (s.variance * s.count / (s.count - 1.0)) as f32;
        follow(&self.running_mean, means)?;
        follow(&self.running_var, batch.iter().map(unbiased).collect())
    }

    /// The running statistics of each channel.
    pub(super) fn running_statistics(&self) -> Result<Vec<Statistics>> {
        let means = self.running_mean.to_vec1::<f32>()?;
        let variances = self.running_var.to_vec1::<f32>()?;
        let each = means.iter().zip(&variances).map(|(&mean, &variance)| Statistics {
            count: 0.0,
            mean: f64::from(mean),
            variance: f64::from(variance),
        });
        Ok(each.collect())
    }
}

fn follow(running: &Var, batch: Vec<f32>) -> Result<()> {
    let batch = Tensor::from_vec(batch, running.shape(), running.device())?;
    running.set(&((running.as_tensor() * (1.0 - MOMENTUM))? + (batch * MOMENTUM)?)?)
}

/// Of one channel; the variance is the biased one, as used for normalising.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statistics {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Statistics {
    /// Of each channel of `x` (B, C, H, W) with `plane` = H W.
    pub(super) fn measure(x: &[f32], channels: usize, plane: usize) -> Vec<Self> {
        let of_channel = |c| {
            let mut moments = Moments::default();
            x.chunks_exact(plane).skip(c).step_by(channels).for_each(|p| moments.include(p));
            let Moments { count, mean, squares } = moments;
            Statistics { count, mean, variance: squares / count }
        };
        (0..channels).into_par_iter().map(of_channel).collect()
    }

    fn inverse_deviation(&self) -> f64 {
        1.0 / (self.variance + EPSILON).sqrt()
    }
}

/// One normalisation of a tensor (B, C, H, W).
pub(super) struct Normalisation<'a> {
    /// Scale of each channel.
    pub(super) weight: &'a [f32],
    pub(super) statistics: &'a [Statistics],
    /// H W.
    pub(super) plane: usize,
}

impl Normalisation<'_> {
    /// `max(0, weight (x - mean) / deviation + bias)`.
    pub(super) fn forward(&self, x: &[f32], bias: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        let planes = y.par_chunks_mut(self.plane).zip(x.par_chunks(self.plane));
        planes.enumerate().for_each(|(at, (y, x))| {
            let c = at % self.weight.len();
            let scale = f64::from(self.weight[c]) * self.statistics[c].inverse_deviation();
            let shift = (f64::from(bias[c]) - scale * self.statistics[c].mean) as f32;
            let scale = scale as f32;
            for (y, &x) in y.iter_mut().zip(x) {
                let value = x * scale + shift;
                // Not `max`: a NaN must stay visible.
                *y = if value < 0.0 { 0.0 } else { value };
            }
        });
        y
    }

    /// Gradients of x, and of weight and bias one after the other, from x, y and y's gradient.
    ///
    /// With g the gradient where y > 0 and n = (x - mean) / deviation over m values:
    /// dbias = sum g, dweight = sum g n, dx = weight / deviation (g - dbias / m - n dweight / m);
    /// the last two terms fall away where the statistics are constants, not `measured`.
    pub(super) fn backward(
        &self,
        x: &[f32],
        y: &[f32],
        g: &[f32],
        measured: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let (channels, plane, statistics) = (self.weight.len(), self.plane, self.statistics);
        let sums: Vec<(f64, f64)> = (0..channels)
            .into_par_iter()
            .map(|c| {
                let mean = statistics[c].mean as f32;
                let planes = (c * plane..x.len()).step_by(channels * plane);
                let (mut of_g, mut of_gx) = (0.0, 0.0);
                for range in planes.map(|from| from..from + plane) {
                    let (y, g) = (&y[range.clone()], &g[range.clone()]);
                    let (a, b) = gated_sums(&x[range], y, g, mean);
                    of_g += a;
                    of_gx += b;
                }
                // The mean was rounded to f32 above; correct the product for it.
                of_gx -= (statistics[c].mean - f64::from(mean)) * of_g;
                (of_g, of_gx * statistics[c].inverse_deviation())
            })
            .collect();
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(plane).enumerate().for_each(|(at, dx)| {
            let (c, range) = (at % channels, at * plane..(at + 1) * plane);
            let inverse = statistics[c].inverse_deviation();
            let scale = f64::from(self.weight[c]) * inverse;
            // dx = scale g + slope x + offset
            let (slope, offset) = if measured {
                let m = statistics[c].count;
                let slope = -scale * inverse * sums[c].1 / m;
                (slope, -scale * sums[c].0 / m - slope * statistics[c].mean)
            } else {
                (0.0, 0.0)
            };
            let (scale, slope, offset) = (scale as f32, slope as f32, offset as f32);
            let (x, y, g) = (&x[range.clone()], &y[range.clone()], &g[range]);
            for (((dx, &x), &y), &g) in dx.iter_mut().zip(x).zip(y).zip(g) {
                let g = if y > 0.0 { g } else { 0.0 };
                *dx = scale * g + (slope * x + offset);
            }
        });
        let of_weight = sums.iter().map(|s| s.1 as f32);
        (dx, of_weight.chain(sums.iter().map(|s| s.0 as f32)).collect())
    }
}

/// Sums of g and of g (x - mean) over the elements whose y is positive.
///
/// The gated values of a run are written down first: as separate loops the compiler turns all of
/// it into vectors, as one loop it does not.
fn gated_sums(x: &[f32], y: &[f32], g: &[f32], mean: f32) -> (f64, f64) {
    let (mut gated, mut products) = ([0.0f32; RUN], [0.0f32; RUN]);
    let (mut of_g, mut of_gx) = (0.0, 0.0);
    for ((x, y), g) in x.chunks(RUN).zip(y.chunks(RUN)).zip(g.chunks(RUN)) {
        let (gated, products) = (&mut gated[..g.len()], &mut products[..g.len()]);
        for ((to, &y), &g) in gated.iter_mut().zip(y).zip(g) {
            *to = if y > 0.0 { g } else { 0.0 };
        }
        for ((to, &g), &x) in products.iter_mut().zip(gated.iter()).zip(x) {
            *to = g * (x - mean);
        }
        of_g += sum(gated);
        of_gx += sum(products);
    }
    (of_g, of_gx)
}
