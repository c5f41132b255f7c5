//! Normalisations for a stack that was trained without: they change nothing at first, and can learn.
//!
//! A layer's running mean m and variance v are those of its convolution's values on the calibration
//! images. With weight sqrt(v + eps) and bias m the normalisation of y is y itself, so that the stack
//! says what it said before; and since it does, one pass through the bare stack measures all layers.

use super::stack::Stack;
use crate::network::layers::batch_norm::EPSILON;
use crate::network::layers::conv2d::conv2d;
use crate::network::layers::max_pool::max_pool;
use candle_core::{Device, Result, Tensor};

/// Gives every layer of `stack` a normalisation measured on `images` (N, 3, H, W), RGB in 0..1.
pub fn calibrate(stack: &mut Stack, images: &Tensor) -> Result<()> {
    let images = images.to_device(&Device::Cpu)?;
    let sizes = stack.stages.iter().flatten().map(|layer| layer.weight.dims()[0]);
    let mut sums: Vec<Sums> = sizes.map(Sums::new).collect();
    for number in 0..images.dim(0)? {
        let mut map = images.narrow(0, number, 1)?;
        let mut own = sums.iter_mut();
        for (at, stage) in stack.stages.iter().enumerate() {
            if at > 0 {
                map = max_pool(&map)?;
            }
            for (layer, sums) in stage.iter().zip(own.by_ref()) {
                let values = conv2d(&map, &layer.weight, &layer.bias)?;
                sums.include(&values)?;
                map = values.maximum(0f64)?;
            }
        }
    }
    for (layer, sums) in stack.stages.iter_mut().flatten().zip(sums) {
        layer.norm = Some(sums.normalisation()?);
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

    /// Weight, bias, running mean and running variance (unbiased, as training measures it).
    fn normalisation(&self) -> Result<[Tensor; 4]> {
        let mean: Vec<f64> = self.first.iter().map(|sum| sum / self.count).collect();
        let squares = self.squares.iter().zip(&mean);
        let variance = squares.map(|(squares, mean)| {
            ((squares - self.count * mean * mean) / (self.count - 1.0).max(1.0)).max(0.0)
        });
        let variance: Vec<f64> = variance.collect();
        let deviation = variance.iter().map(|variance| (variance + EPSILON).sqrt()).collect();
        let tensor = |values: &Vec<f64>| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            Tensor::new(values, &Device::Cpu)
        };
        Ok([tensor(&deviation)?, tensor(&mean)?, tensor(&mean)?, tensor(&variance)?])
    }
}
