//! The building block of encoder and decoder, and the VGG encoder made of it.
//!
//! Simonyan & Zisserman 2015 with batch normalisation after each convolution.

use super::layers::batch_norm::BatchNorm;
use super::layers::conv_norm_relu::{By, conv_norm_relu};
use super::layers::max_pool::max_pool;
use super::quantize_aware::Maps;
use super::tape::Tape;
use super::{Mode, NetworkConfig};
use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws initial parameters, all from one seed and in the order of construction.
pub(super) struct Initialiser<'a> {
    random: ChaCha8Rng,
    device: &'a Device,
}

impl<'a> Initialiser<'a> {
    pub(super) fn new(seed: u64, device: &'a Device) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), device }
    }

    /// Uniform in ±1/sqrt(fan_in), which is what PyTorch's layers start with: `kaiming_uniform`
    /// with a = sqrt(5) for weights, the same bound for biases.
    pub(super) fn uniform(&mut self, shape: impl Into<Shape>, fan_in: usize) -> Result<Var> {
        let shape = shape.into();
        let bound = 1.0 / (fan_in as f64).sqrt();
        let values: Vec<f32> = (0..shape.elem_count())
            .map(|_| {
                let unit = (f64::from(self.random.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
                ((2.0 * unit - 1.0) * bound) as f32
            })
            .collect();
        Var::from_vec(values, shape, self.device)
    }

    fn norm(&self, channels: usize) -> Result<BatchNorm> {
        Ok(BatchNorm {
            weight: Var::ones(channels, DType::F32, self.device)?,
            bias: Var::zeros(channels, DType::F32, self.device)?,
            running_mean: Var::zeros(channels, DType::F32, self.device)?,
            running_var: Var::ones(channels, DType::F32, self.device)?,
        })
    }
}

/// 3x3 convolution, batch normalisation, ReLU.
#[derive(Debug)]
pub(super) struct Block {
    weight: Var,
    bias: Var,
    norm: BatchNorm,
}

impl Block {
    pub(super) fn new(inputs: usize, outputs: usize, init: &mut Initialiser) -> Result<Self> {
        Ok(Self {
            weight: init.uniform((outputs, inputs, 3, 3), inputs * 9)?,
            bias: init.uniform(outputs, inputs * 9)?,
            norm: init.norm(outputs)?,
        })
    }

    /// `name` is that of its convolution.
    fn forward(
        &self,
        name: &str,
        tape: &Tape,
        x: &Tensor,
        mode: Mode,
        maps: &Maps,
    ) -> Result<Tensor> {
        let by = match mode {
            Mode::Train { .. } if !maps.is_quantized() => By::Batch,
            Mode::Train { .. } | Mode::Evaluate => By::Running,
        };
        let weight = maps.weight(tape, name, &self.weight)?;
        maps.pass(tape, name, conv_norm_relu(tape, x, &weight, &self.bias, &self.norm, by)?)
    }
}

/// Blocks one after the other, and where they stand in parameter names.
#[derive(Debug)]
pub(super) struct Stage {
    name: String,
    blocks: Vec<Block>,
}

impl Stage {
    /// Blocks through the given channel counts; the first is the input's.
    pub(super) fn new(name: String, channels: &[usize], init: &mut Initialiser) -> Result<Self> {
        let blocks = channels.windows(2).map(|pair| Block::new(pair[0], pair[1], init));
        Ok(Self { name, blocks: blocks.collect::<Result<_>>()? })
    }

    pub(super) fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        mode: Mode,
        maps: &Maps,
    ) -> Result<Tensor> {
        self.blocks.iter().enumerate().try_fold(x.clone(), |x, (at, block)| {
            block.forward(&format!("{}.conv{}", self.name, at + 1), tape, &x, mode, maps)
        })
    }

    /// The group that the stage's output belongs to: its last convolution.
    pub(super) fn group(&self) -> String {
        format!("{}.conv{}", self.name, self.blocks.len())
    }

    pub(super) fn parameters(&self, to: &mut Vec<(String, Var)>) {
        for (at, block) in self.blocks.iter().enumerate() {
            let (name, at) = (&self.name, at + 1);
            to.push((format!("{name}.conv{at}.weight"), block.weight.clone()));
            to.push((format!("{name}.conv{at}.bias"), block.bias.clone()));
            to.push((format!("{name}.norm{at}.weight"), block.norm.weight.clone()));
            to.push((format!("{name}.norm{at}.bias"), block.norm.bias.clone()));
        }
    }

    pub(super) fn buffers(&self, to: &mut Vec<(String, Var)>) {
        for (at, block) in self.blocks.iter().enumerate() {
            let (name, at) = (&self.name, at + 1);
            to.push((format!("{name}.norm{at}.running_mean"), block.norm.running_mean.clone()));
            to.push((format!("{name}.norm{at}.running_var"), block.norm.running_var.clone()));
        }
    }
}

/// Five stages with a 2x2 max pool between them.
#[derive(Debug)]
pub(super) struct Vgg {
    pub(super) stages: Vec<Stage>,
}

impl Vgg {
    pub(super) fn new(config: &NetworkConfig, init: &mut Initialiser) -> Result<Self> {
        let mut inputs = 3;
        let stages = config.channels().into_iter().zip(config.encoder.convolutions()).enumerate();
        let stages = stages.map(|(at, (channels, convolutions))| {
            let mut through = vec![channels; convolutions + 1];
            through[0] = std::mem::replace(&mut inputs, channels);
            Stage::new(format!("encoder.stage{}", at + 1), &through, init)
        });
        Ok(Self { stages: stages.collect::<Result<_>>()? })
    }

    /// The five maps, from full resolution to a sixteenth of it.
    pub(super) fn forward(
        &self,
        tape: &Tape,
        images: &Tensor,
        mode: Mode,
        maps: &Maps,
    ) -> Result<Vec<Tensor>> {
        let mut found: Vec<Tensor> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let map = match found.last() {
                None => stage.forward(tape, images, mode, maps)?,
                Some(above) => stage.forward(tape, &max_pool(tape, above)?, mode, maps)?,
            };
            found.push(map);
        }
        Ok(found)
    }
}
