//! Batch normalisation followed by ReLU, in two passes each way.
//!
//! Ioffe & Szegedy 2015; the same numbers as PyTorch's `BatchNorm2d` (eps 1e-5, momentum 0.1,
//! running variance from the unbiased estimate) and `ReLU` (gradient 0 at 0).

use super::reduce::{Moments, RUN, sum};
use super::{elements, read};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, Var};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "batch_norm_relu";
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
    /// Normalises `x` (B, C, H, W) with the batch's own mean and variance, then clips at zero.
    /// The running statistics move towards the batch's. Fails where a channel has one value only,
    /// whose variance says nothing.
    pub fn train(&self, x: &Tensor) -> Result<Tensor> {
        let statistics = Arc::new(Mutex::new(Vec::new()));
        let op = NormRelu { statistics: statistics.clone(), fixed: None };
        let y = x.contiguous()?.apply_op3(&self.weight, &self.bias, op)?;
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for s in statistics.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            means.push(s.mean as f32);
            variances.push((s.variance * s.count / (s.count - 1.0)) as f32);
        }
        follow(&self.running_mean, means)?;
        follow(&self.running_var, variances)?;
        Ok(y)
    }

    /// Normalises `x` (B, C, H, W) with the running statistics, then clips at zero.
    pub fn evaluate(&self, x: &Tensor) -> Result<Tensor> {
        let means = self.running_mean.to_vec1::<f32>()?;
        let variances = self.running_var.to_vec1::<f32>()?;
        let fixed = means.iter().zip(&variances).map(|(&mean, &variance)| Statistics {
            count: 0.0,
            mean: f64::from(mean),
            variance: f64::from(variance),
        });
        let op = NormRelu { statistics: Arc::default(), fixed: Some(fixed.collect()) };
        x.contiguous()?.apply_op3(&self.weight, &self.bias, op)
    }
}

fn follow(running: &Var, batch: Vec<f32>) -> Result<()> {
    let batch = Tensor::from_vec(batch, running.shape(), running.device())?;
    running.set(&((running.as_tensor() * (1.0 - MOMENTUM))? + (batch * MOMENTUM)?)?)
}

/// Of one channel; the variance is the biased one, as used for normalising.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Statistics {
    fn inverse_deviation(&self) -> f64 {
        1.0 / (self.variance + EPSILON).sqrt()
    }
}

struct NormRelu {
    /// Filled by the forward pass, read by the backward pass and by the layer.
    statistics: Arc<Mutex<Vec<Statistics>>>,
    /// Given from outside instead of measured: constants in the backward pass.
    fixed: Option<Vec<Statistics>>,
}

impl CustomOp3 for NormRelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = x_layout.shape().dims4()?;
        let x = elements(NAME, x, x_layout)?;
        let weight = elements(NAME, weight, weight_layout)?;
        let bias = elements(NAME, bias, bias_layout)?;
        let plane = height * width;
        if weight.len() != channels || bias.len() != channels {
            candle_core::bail!("{NAME}: {} scales for {channels} channels", weight.len());
        }
        let statistics = match &self.fixed {
            Some(fixed) if fixed.len() == channels => fixed.clone(),
            Some(fixed) => candle_core::bail!("{NAME}: {} means, {channels} channels", fixed.len()),
            None if batch * plane < 2 => {
                candle_core::bail!("{NAME}: needs more than one value a channel to train")
            }
            None => measure(x, channels, plane),
        };
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(at, (y, x))| {
            let c = at % channels;
            let scale = f64::from(weight[c]) * statistics[c].inverse_deviation();
            let shift = (f64::from(bias[c]) - scale * statistics[c].mean) as f32;
            let scale = scale as f32;
            for (y, &x) in y.iter_mut().zip(x) {
                let value = x * scale + shift;
                // Not `max`: a NaN must stay visible.
                *y = if value < 0.0 { 0.0 } else { value };
            }
        });
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, channels, height, width) = x.dims4()?;
        let gradient = gradient.contiguous()?;
        let statistics = self.statistics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let measured = self.fixed.is_none();
        let (dx, dweight, dbias) = read(NAME, x, |x| {
            read(NAME, weight, |weight| {
                read(NAME, y, |y| {
                    read(NAME, &gradient, |g| {
                        let arrays = Arrays { x, y, g, channels, plane: height * width };
                        backward(&arrays, weight, &statistics, measured)
                    })
                })
            })
        })????;
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), device)?),
            Some(Tensor::from_vec(dweight, channels, device)?),
            Some(Tensor::from_vec(dbias, channels, device)?),
        ))
    }
}

fn measure(x: &[f32], channels: usize, plane: usize) -> Vec<Statistics> {
    (0..channels)
        .into_par_iter()
        .map(|c| {
            let mut moments = Moments::default();
            x.chunks_exact(plane).skip(c).step_by(channels).for_each(|p| moments.include(p));
            Statistics {
                count: moments.count,
                mean: moments.mean,
                variance: moments.squares / moments.count,
            }
        })
        .collect()
}

struct Arrays<'a> {
    x: &'a [f32],
    y: &'a [f32],
    g: &'a [f32],
    channels: usize,
    plane: usize,
}

/// With g the gradient where y > 0 and n = (x - mean) / deviation over m values:
/// dbias = sum g, dweight = sum g n, dx = weight / deviation (g - dbias / m - n dweight / m);
/// the last two terms fall away where the statistics are constants.
fn backward(
    arrays: &Arrays,
    weight: &[f32],
    statistics: &[Statistics],
    measured: bool,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (channels, plane) = (arrays.channels, arrays.plane);
    let sums: Vec<(f64, f64)> = (0..channels)
        .into_par_iter()
        .map(|c| {
            let mean = statistics[c].mean as f32;
            let planes = (c * plane..arrays.x.len()).step_by(channels * plane);
            let (mut of_g, mut of_gx) = (0.0, 0.0);
            for range in planes.map(|from| from..from + plane) {
                let (y, g) = (&arrays.y[range.clone()], &arrays.g[range.clone()]);
                let (a, b) = gated_sums(&arrays.x[range], y, g, mean);
                of_g += a;
                of_gx += b;
            }
            // The mean was rounded to f32 above; correct the product for it.
            of_gx -= (statistics[c].mean - f64::from(mean)) * of_g;
            (of_g, of_gx * statistics[c].inverse_deviation())
        })
        .collect();
    let mut dx = vec![0.0; arrays.x.len()];
    dx.par_chunks_mut(plane).enumerate().for_each(|(at, dx)| {
        let (c, range) = (at % channels, at * plane..(at + 1) * plane);
        let inverse = statistics[c].inverse_deviation();
        let scale = f64::from(weight[c]) * inverse;
        // dx = scale g + slope x + offset
        let (slope, offset) = if measured {
            let m = statistics[c].count;
            let slope = -scale * inverse * sums[c].1 / m;
            (slope, -scale * sums[c].0 / m - slope * statistics[c].mean)
        } else {
            (0.0, 0.0)
        };
        let (scale, slope, offset) = (scale as f32, slope as f32, offset as f32);
        let (x, y, g) = (&arrays.x[range.clone()], &arrays.y[range.clone()], &arrays.g[range]);
        for (((dx, &x), &y), &g) in dx.iter_mut().zip(x).zip(y).zip(g) {
            let g = if y > 0.0 { g } else { 0.0 };
            *dx = scale * g + (slope * x + offset);
        }
    });
    let dweight = sums.iter().map(|s| s.1 as f32).collect();
    let dbias = sums.iter().map(|s| s.0 as f32).collect();
    (dx, dweight, dbias)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{noise, numeric_gradients};
    use super::*;
    use candle_core::{DType, Device};

    fn norm(channels: usize) -> BatchNorm {
        let device = Device::Cpu;
        BatchNorm {
            weight: Var::from_tensor(&(noise(channels, 1) + 1.5).unwrap()).unwrap(),
            bias: Var::from_tensor(&noise(channels, 2)).unwrap(),
            running_mean: Var::zeros(channels, DType::F32, &device).unwrap(),
            running_var: Var::ones(channels, DType::F32, &device).unwrap(),
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        // A shift of 3 keeps every value on the open side of the ReLU, whose kink has no
        // difference quotient; one of -1 leaves about a sixth of them open, checked elsewhere.
        let (x, weight) = (noise((3, 2, 4, 3), 3), noise(2, 4));
        for shift in [3.0, -30.0] {
            let bias = (noise(2, 5) * 0.1).unwrap().affine(1.0, shift).unwrap();
            numeric_gradients(&[x.clone(), weight.clone(), bias], 3e-3, 3e-3, |v| {
                let op = NormRelu { statistics: Arc::default(), fixed: None };
                v[0].apply_op3(&v[1], &v[2], op).unwrap()
            });
        }
    }

    #[test]
    fn gradients_are_gated_and_constants_stay_constant() {
        let norm = norm(2);
        let x = Var::from_tensor(&noise((2, 2, 5, 5), 6)).unwrap();
        let y = norm.evaluate(&x).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let dx = grads.get(x.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let weight = norm.weight.to_vec1::<f32>().unwrap();
        let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(y.contains(&0.0));
        for (e, (dx, y)) in dx.iter().zip(y).enumerate() {
            let open = weight[e / 25 % 2] / (1.0f32 + 1e-5).sqrt();
            assert!((dx - if y > 0.0 { open } else { 0.0 }).abs() < 1e-6);
        }
    }

    #[test]
    fn running_statistics_follow_the_unbiased_ones() {
        let norm = norm(1);
        let x = Tensor::new(&[[[[1.0f32, 2.0], [3.0, 6.0]]]], &Device::Cpu).unwrap();
        norm.train(&x).unwrap();
        assert!((norm.running_mean.to_vec1::<f32>().unwrap()[0] - 0.3).abs() < 1e-6);
        // Unbiased variance 14/3: 0.9 * 1 + 0.1 * 14/3.
        let var = norm.running_var.to_vec1::<f32>().unwrap()[0];
        assert!((var - (0.9 + 1.4 / 3.0)).abs() < 1e-6);
        assert!(norm.train(&x.narrow(2, 0, 1).unwrap().narrow(3, 0, 1).unwrap()).is_err());
    }
}
