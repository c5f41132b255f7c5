//! Normalisations for a stack that was trained without: at first they only change the unit in which
//! each layer speaks, and they can learn.
//!
//! Layer l's values y have, channel by channel, means m and variances v on the calibration images. A
//! normalisation with running statistics m and v, weight sqrt(v + eps) and bias m would leave y as it is.
//! But these stacks speak in hundreds in their early stages and in units in the last, which would drown
//! the deep maps in the decoder, saturate the heads and be out of reach of an optimiser that moves every
//! weight by about the learning rate. So each layer's values are divided by one number,
//! s_l = root of the mean of v. ReLU and pooling pass such a factor on unchanged: the next layer keeps
//! its weights and finds y_(l+1) / s_l when its bias is divided by s_l. All proportions within a layer,
//! and with them what the stack says, stay.

use super::stack::Stack;
use crate::network::layers::batch_norm::EPSILON;
use crate::network::layers::conv2d::conv2d;
use crate::network::layers::max_pool::max_pool;
use crate::network::tape::Tape;
use candle_core::{Device, Result, Tensor};

/// Gives every layer of `stack` a normalisation measured on `images` (N, 3, H, W), RGB in 0..1: in one
/// pass through the bare stack, since what is measured does not depend on the normalisations.
pub fn calibrate(stack: &mut Stack, images: &Tensor) -> Result<()> {
    let (images, tape) = (images.to_device(&Device::Cpu)?, Tape::none());
    let sizes = stack.stages.iter().flatten().map(|layer| layer.weight.dims()[0]);
    let mut sums: Vec<Sums> = sizes.map(Sums::new).collect();
    for number in 0..images.dim(0)? {
        let mut map = images.narrow(0, number, 1)?;
        let mut own = sums.iter_mut();
        for (at, stage) in stack.stages.iter().enumerate() {
            if at > 0 {
                map = max_pool(&tape, &map)?;
            }
            for (layer, sums) in stage.iter().zip(own.by_ref()) {
                let values = conv2d(&tape, &map, &layer.weight, &layer.bias)?;
                sums.include(&values)?;
                map = values.maximum(0f64)?;
            }
        }
    }
    let mut unit = 1.0;
    for (layer, sums) in stack.stages.iter_mut().flatten().zip(sums) {
        let own = sums.unit();
        layer.bias = (&layer.bias / unit)?;
        layer.norm = Some(sums.normalisation(unit, own)?);
        unit = own;
    }
    Ok(())
}

/// Sums over the values of each channel.
struct Sums {
    count: f64,
    first: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(channels: usize) -> Self {
        Self { count: 0.0, first: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// Takes in `values` (1, C, H, W).
    fn include(&mut self, values: &Tensor) -> Result<()> {
        let planes = values.squeeze(0)?.flatten_from(1)?.to_vec2::<f32>()?;
        for ((plane, first), squares) in planes.iter().zip(&mut self.first).zip(&mut self.squares) {
            for &value in plane {
                *first += f64::from(value);
                *squares += f64::from(value) * f64::from(value);
            }
        }
        self.count += planes.first().map_or(0.0, |plane| plane.len() as f64);
        Ok(())
    }

    /// Mean and (unbiased, as training measures it) variance of each channel.
    fn moments(&self) -> impl Iterator<Item = (f64, f64)> {
        self.first.iter().zip(&self.squares).map(|(first, squares)| {
            let mean = first / self.count;
            let variance = (squares - self.count * mean * mean) / (self.count - 1.0).max(1.0);
            (mean, variance.max(0.0))
        })
    }

    /// The root of the mean variance; 1 for a layer that says nothing.
    fn unit(&self) -> f64 {
        let sum: f64 = self.moments().map(|(_, variance)| variance).sum();
        if sum > 0.0 { (sum / self.first.len() as f64).sqrt() } else { 1.0 }
    }

    /// Weight, bias, running mean and running variance, for values that come divided by `before` and
    /// shall leave divided by `after`.
    fn normalisation(&self, before: f64, after: f64) -> Result<[Tensor; 4]> {
        let tensor = |of: &dyn Fn(f64, f64) -> f64| {
            let values = self.moments().map(|(mean, variance)| of(mean, variance) as f32);
            Tensor::new(values.collect::<Vec<_>>(), &Device::Cpu)
        };
        let arriving = |variance: f64| variance / (before * before);
        Ok([
            tensor(&|_, variance| (arriving(variance) + EPSILON).sqrt() * before / after)?,
            tensor(&|mean, _| mean / after)?,
            tensor(&|mean, _| mean / before)?,
            tensor(&|_, variance| arriving(variance))?,
        ])
    }
}
