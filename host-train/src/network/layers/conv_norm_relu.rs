//! The block of the network in one operation: 3x3 convolution, batch normalisation, ReLU.
//!
//! One, because what lies between them is nobody else's business: the tape would keep a gradient
//! for each of the maps in between, and the convolution's bias would be summed over for nothing.

use super::batch_norm::{BatchNorm, Normalisation, Statistics};
use super::conv_kernel::{PackedWeights, convolve};
use super::conv_weight::{bias_gradient, weight_gradient};
use super::conv2d::{input_gradient, sizes};
use super::simd::Level;
use super::{elements, read};
use crate::network::cuda;
use crate::network::tape::Tape;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "conv_norm_relu";

/// Which mean and variance a normalisation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Those of the batch; the running ones move towards them. Fails where a channel has one value
    /// only, whose variance says nothing.
    Batch,
    /// The running ones.
    Running,
}

/// Convolves `x` (B, I, H, W) with `weight` (O, I, 3, 3), padding 1, adds `bias` (O), normalises
/// each channel and clips at zero; gives (B, O, H, W).
///
/// `x` gets a gradient only where something before it can use it: the first layer's images cost
/// nothing. The gradient of `bias` is exactly zero under [`By::Batch`], which takes the mean away
/// again.
pub fn conv_norm_relu(
    tape: &Tape,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    norm: &BatchNorm,
    by: By,
) -> Result<Tensor> {
    if cuda::on_gpu(x) {
        return cuda::conv_norm_relu(tape, x, &cuda::Block { weight, bias, norm, by });
    }
    let fixed = match by {
        By::Batch => None,
        By::Running => Some(norm.running_statistics()?),
    };
    let kept = Arc::new(Mutex::new(Kept::default()));
    let (level, to_x) = (Level::detect(), tape.reaches(x));
    let op = ConvNormRelu { level, kept: kept.clone(), fixed, to_x };
    // An operation takes three tensors at most.
    let vectors = tape.concat(&[bias, &norm.weight, &norm.bias])?;
    let y = tape.apply3(op, x, weight, &vectors)?;
    if by == By::Batch {
        norm.follow(&kept.lock().unwrap_or_else(PoisonError::into_inner).statistics)?;
    }
    Ok(y)
}

/// What the backward pass needs besides the operation's own tensors.
#[derive(Default)]
struct Kept {
    convolved: Vec<f32>,
    statistics: Vec<Statistics>,
}

struct ConvNormRelu {
    level: Level,
    /// Filled by the forward pass; read by each backward pass and, once, by the layer.
    kept: Arc<Mutex<Kept>>,
    /// Given from outside instead of measured: constants in the backward pass.
    fixed: Option<Vec<Statistics>>,
    /// Whether x needs a gradient.
    to_x: bool,
}

impl CustomOp3 for ConvNormRelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        vectors: &CpuStorage,
        vectors_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (sizes, kernel) = sizes(x_layout.shape(), weight_layout.shape())?;
        let x = elements(NAME, x, x_layout)?;
        let weight = elements(NAME, weight, weight_layout)?;
        let vectors = elements(NAME, vectors, vectors_layout)?;
        let (channels, plane) = (sizes.outputs, sizes.plane());
        if kernel != 3 || vectors.len() != 3 * channels {
            candle_core::bail!("{NAME}: {} values for {channels} channels", vectors.len());
        }
        let packed = PackedWeights::forward(self.level, weight, channels, sizes.inputs);
        let convolved = convolve(x, &packed, Some(&vectors[..channels]), sizes);
        let statistics = match &self.fixed {
            Some(fixed) if fixed.len() == channels => fixed.clone(),
            Some(fixed) => candle_core::bail!("{NAME}: {} means, {channels} channels", fixed.len()),
            None if sizes.batch * plane < 2 => {
                candle_core::bail!("{NAME}: needs more than one value a channel to train")
            }
            None => Statistics::measure(&convolved, channels, plane),
        };
        let (scale, shift) = vectors[channels..].split_at(channels);
        let normalisation = Normalisation { weight: scale, statistics: &statistics, plane };
        let y = normalisation.forward(&convolved, shift);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept { convolved, statistics };
        Ok((CpuStorage::F32(y), (sizes.batch, channels, sizes.height, sizes.width).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        vectors: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (sizes, kernel) = sizes(x.shape(), weight.shape())?;
        let (channels, plane) = (sizes.outputs, sizes.plane());
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = gradient.contiguous()?;
        let (inner, mut to_vectors) = read(NAME, vectors, |vectors| {
            let weight = &vectors[channels..2 * channels];
            let normalisation = Normalisation { weight, statistics: &kept.statistics, plane };
            read(NAME, y, |y| {
                read(NAME, &gradient, |g| {
                    normalisation.backward(&kept.convolved, y, g, self.fixed.is_none())
                })
            })
        })???;
        let to_bias = match self.fixed {
            Some(_) => bias_gradient(&inner, channels, plane),
            None => vec![0.0; channels],
        };
        to_vectors.splice(..0, to_bias);
        let to_x = if self.to_x {
            Some(read(NAME, weight, |w| input_gradient(self.level, w, &inner, sizes, kernel))?)
        } else {
            None
        };
        let to_weight = read(NAME, x, |x| weight_gradient(self.level, x, &inner, sizes))?;
        let device = x.device();
        Ok((
            to_x.map(|values| Tensor::from_vec(values, x.shape(), device)).transpose()?,
            Some(Tensor::from_vec(to_weight, weight.shape(), device)?),
            Some(Tensor::from_vec(to_vectors, vectors.shape(), device)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::{gradients_of_sum, noise, numeric_gradients};
    use super::*;
    use candle_core::{DType, Device, Var};

    fn norm(channels: usize) -> BatchNorm {
        let device = Device::Cpu;
        BatchNorm {
            weight: Var::from_tensor(&(noise(channels, 1) + 1.5).unwrap()).unwrap(),
            bias: Var::from_tensor(&noise(channels, 2)).unwrap(),
            running_mean: Var::zeros(channels, DType::F32, &device).unwrap(),
            running_var: Var::ones(channels, DType::F32, &device).unwrap(),
        }
    }

    /// A window that hands each channel on, and no bias: what remains is the normalisation.
    fn hand_on(channels: usize) -> (Tensor, Tensor) {
        let mut window = vec![0.0f32; channels * channels * 9];
        (0..channels).for_each(|c| window[(c * channels + c) * 9 + 4] = 1.0);
        let weight = Tensor::from_vec(window, (channels, channels, 3, 3), &Device::Cpu).unwrap();
        (weight, Tensor::zeros(channels, DType::F32, &Device::Cpu).unwrap())
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        // A shift of 3 keeps every value on the open side of the ReLU, whose kink has no
        // difference quotient; -30 closes all.
        let (x, weight, scale) = (noise((3, 3, 4, 3), 3), noise((2, 3, 3, 3), 4), noise(2, 5));
        let zeros = Var::zeros(2, DType::F32, &Device::Cpu).unwrap();
        for shift in [3.0, -30.0] {
            let shift = (noise(2, 6) * 0.1).unwrap().affine(1.0, shift).unwrap();
            for level in Level::supported() {
                let inputs = [x.clone(), weight.clone(), scale.clone(), shift.clone()];
                numeric_gradients(&inputs, 3e-3, 3e-3, |tape, v| {
                    let vectors = tape.concat(&[&zeros, &v[2], &v[3]]).unwrap();
                    let op = ConvNormRelu { level, kept: Arc::default(), fixed: None, to_x: true };
                    tape.apply3(op, &v[0], &v[1], &vectors).unwrap()
                });
            }
        }
    }

    #[test]
    fn a_bias_before_the_normalisation_moves_nothing_but_the_mean() {
        let (norm, x) = (norm(2), noise((2, 3, 5, 5), 6));
        let weight = Var::from_tensor(&noise((2, 3, 3, 3), 7)).unwrap();
        let bias = Var::from_tensor(&noise(2, 8)).unwrap();
        let none = (bias.as_tensor() * 0.0).unwrap();
        let tape = Tape::begin(&x);
        let y = conv_norm_relu(&tape, &x, &weight, &bias, &norm, By::Batch).unwrap();
        let y = tape.end(&y).unwrap();
        let plain = conv_norm_relu(&Tape::none(), &x, &weight, &none, &norm, By::Batch).unwrap();
        let difference = (&y - plain).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
        let mut grads = y.sum_all().unwrap().backward().unwrap();
        tape.backward(&mut grads).unwrap();
        assert_eq!(grads.get(bias.as_tensor()).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0]);
        assert!(grads.get(&x).is_none() && grads.get(weight.as_tensor()).is_some());
    }

    #[test]
    fn gradients_are_gated_and_constants_stay_constant() {
        let norm = norm(2);
        let x = Var::from_tensor(&noise((2, 2, 5, 5), 6)).unwrap();
        let (window, none) = hand_on(2);
        let (window, none) = (Var::from_tensor(&window).unwrap(), Var::from_tensor(&none).unwrap());
        let block =
            |tape: &Tape| conv_norm_relu(tape, &x, &window, &none, &norm, By::Running).unwrap();
        let (y, grads) = (block(&Tape::none()), gradients_of_sum(block));
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
        let (window, none) = hand_on(1);
        conv_norm_relu(&Tape::none(), &x, &window, &none, &norm, By::Batch).unwrap();
        assert!((norm.running_mean.to_vec1::<f32>().unwrap()[0] - 0.3).abs() < 1e-6);
        // Unbiased variance 14/3: 0.9 * 1 + 0.1 * 14/3.
        let var = norm.running_var.to_vec1::<f32>().unwrap()[0];
        assert!((var - (0.9 + 1.4 / 3.0)).abs() < 1e-6);
        let single = x.narrow(2, 0, 1).unwrap().narrow(3, 0, 1).unwrap();
        assert!(conv_norm_relu(&Tape::none(), &single, &window, &none, &norm, By::Batch).is_err());
    }
}
