//! The network as plain convolutions: every BatchNorm folded into the convolution before it.
//!
//! With the running mean m, variance v, scale g and shift b of a BatchNorm, and the weight w and
//! bias c of the convolution before it, `g (w x + c - m) / sqrt(v + eps) + b` is again a
//! convolution: weight `k w` and bias `k (c - m) + b` with `k = g / sqrt(v + eps)`, all a channel.
//! The products are taken in f64 and rounded to f32 once.

use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Added to a BatchNorm's variance, in training and here.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// A convolution with bias, stride 1, padded so that the side stays the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Its place in the network, such as `encoder.stage1.conv2` or `head.disc`.
    pub name: String,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the square kernel in pixels: 3, or 1 in the heads.
    pub kernel: usize,
    /// Shape (outputs, inputs, kernel, kernel), row major.
    pub weight: Vec<f32>,
    /// One number an output channel.
    pub bias: Vec<f32>,
}

impl Conv {
    /// Numbers of weight that one output channel has.
    #[must_use]
    pub fn weights_per_output(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }
}

/// The whole network without BatchNorm, in the order in which it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedNetwork {
    /// Five stages from the photograph down; a 2x2 max pool between them. ReLU after every one.
    pub encoder: Vec<Vec<Conv>>,
    /// Four stages from the deepest up; each reads the upsampled map and then the skip. ReLU too.
    pub decoder: Vec<Vec<Conv>>,
    /// Disc, cup and fovea: 1x1 convolutions to one channel, before the sigmoid.
    pub maps: [Conv; 3],
    /// The classifier on the global maximum of the deepest map, as a 1x1 convolution to one channel.
    pub glaucoma: Conv,
}

impl FoldedNetwork {
    /// All convolutions, encoder first, heads last.
    pub fn convs(&self) -> impl Iterator<Item = &Conv> {
        let trunk = self.encoder.iter().chain(&self.decoder).flatten();
        trunk.chain(&self.maps).chain(std::iter::once(&self.glaucoma))
    }

    /// The photograph's side in network pixels must be a multiple of this.
    #[must_use]
    pub fn side_multiple(&self) -> usize {
        1 << self.encoder.len().saturating_sub(1)
    }
}

/// Why a set of tensors is not a network that can be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// A tensor that the network must have.
    #[error("fold: the network has no tensor named {0}")]
    Missing(String),
    /// A tensor nobody read: the network is not the one known here.
    #[error("fold: the network has a tensor that no layer uses: {0}")]
    Unused(String),
    /// A tensor of the wrong shape.
    #[error("fold: {name} has shape {found:?}, expected {expected}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be, in words.
        expected: String,
    },
    /// NaN or infinity among the weights, or a variance below zero.
    #[error("fold: {0} holds a value that is not usable (NaN, infinite, or a negative variance)")]
    Value(String),
    /// The tensor could not be read.
    #[error("fold: reading {name}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The cause.
        #[source]
        source: candle_core::Error,
    },
}

/// Folds the named tensors of a network (parameters and running statistics together).
///
/// # Errors
/// A tensor that is missing, left over, misshapen or not finite.
pub fn fold(tensors: &BTreeMap<String, Tensor>) -> Result<FoldedNetwork, FoldError> {
    let mut source = Source { tensors, used: BTreeSet::new() };
    let encoder = source.stages("encoder", 3)?;
    let deepest = width_of(&encoder)?;
    let skips: Vec<usize> = encoder.iter().rev().skip(1).map(|stage| outputs_of(stage)).collect();
    let decoder = source.stages_with_skips("decoder", deepest, &skips)?;
    let shared = width_of(&decoder)?;
    let maps = [
        source.head("head.disc", shared)?,
        source.head("head.cup", shared)?,
        source.head("head.fovea", shared)?,
    ];
    let glaucoma = source.head("head.glaucoma", deepest)?;
    source.nothing_left()?;
    Ok(FoldedNetwork { encoder, decoder, maps, glaucoma })
}

fn outputs_of(stage: &[Conv]) -> usize {
    stage.last().map_or(0, |conv| conv.outputs)
}

fn width_of(stages: &[Vec<Conv>]) -> Result<usize, FoldError> {
    let last = stages.last().ok_or_else(|| FoldError::Missing("encoder.stage1.conv1".into()))?;
    Ok(outputs_of(last))
}

/// Reads tensors by name and remembers which were read.
struct Source<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    used: BTreeSet<String>,
}

impl Source<'_> {
    /// Stages 1, 2, ... for as long as there are any; each reads what the one before it gives.
    fn stages(&mut self, part: &str, mut inputs: usize) -> Result<Vec<Vec<Conv>>, FoldError> {
        let mut stages = Vec::new();
        while self.has(&format!("{part}.stage{}.conv1.weight", stages.len() + 1)) {
            let stage = self.stage(&format!("{part}.stage{}", stages.len() + 1), inputs)?;
            inputs = outputs_of(&stage);
            stages.push(stage);
        }
        if stages.is_empty() {
            return Err(FoldError::Missing(format!("{part}.stage1.conv1.weight")));
        }
        Ok(stages)
    }

    /// One stage a skip; each reads the stage before it beside the skip.
    fn stages_with_skips(
        &mut self,
        part: &str,
        mut inputs: usize,
        skips: &[usize],
    ) -> Result<Vec<Vec<Conv>>, FoldError> {
        let mut stages = Vec::new();
        for (index, skip) in skips.iter().enumerate() {
            let stage = self.stage(&format!("{part}.stage{}", index + 1), inputs + skip)?;
            inputs = outputs_of(&stage);
            stages.push(stage);
        }
        Ok(stages)
    }

    fn stage(&mut self, name: &str, mut inputs: usize) -> Result<Vec<Conv>, FoldError> {
        let mut convs = Vec::new();
        loop {
            let number = convs.len() + 1;
            let conv = format!("{name}.conv{number}");
            if number > 1 && !self.has(&format!("{conv}.weight")) {
                return Ok(convs);
            }
            let plain = self.conv(&conv, inputs)?;
            let folded = self.fold_norm(plain, &format!("{name}.norm{number}"))?;
            inputs = folded.outputs;
            convs.push(folded);
        }
    }

    /// A square convolution of `inputs` channels as it stands, weight and bias.
    fn conv(&mut self, name: &str, inputs: usize) -> Result<Conv, FoldError> {
        let (shape, weight) = self.read(&format!("{name}.weight"))?;
        match shape[..] {
            [outputs, found, height, width]
                if found == inputs && height == width && height % 2 == 1 && outputs > 0 =>
            {
                let bias = self.read_vector(&format!("{name}.bias"), outputs)?;
                Ok(Conv { name: name.into(), inputs, outputs, kernel: height, weight, bias })
            }
            _ => Err(FoldError::Shape {
                name: format!("{name}.weight"),
                found: shape,
                expected: format!("(outputs, {inputs}, k, k) with k odd"),
            }),
        }
    }

    /// A head of one output: a 1x1 convolution, or a linear layer of shape (1, inputs).
    fn head(&mut self, name: &str, inputs: usize) -> Result<Conv, FoldError> {
        let (shape, weight) = self.read(&format!("{name}.weight"))?;
        if shape != [1, inputs] && shape != [1, inputs, 1, 1] {
            let expected = format!("(1, {inputs}) or (1, {inputs}, 1, 1)");
            return Err(FoldError::Shape {
                name: format!("{name}.weight"),
                found: shape,
                expected,
            });
        }
        let bias = self.read_vector(&format!("{name}.bias"), 1)?;
        Ok(Conv { name: name.into(), inputs, outputs: 1, kernel: 1, weight, bias })
    }

    fn fold_norm(&mut self, mut conv: Conv, norm: &str) -> Result<Conv, FoldError> {
        let scale = self.read_vector(&format!("{norm}.weight"), conv.outputs)?;
        let shift = self.read_vector(&format!("{norm}.bias"), conv.outputs)?;
        let mean = self.read_vector(&format!("{norm}.running_mean"), conv.outputs)?;
        let variance = self.read_vector(&format!("{norm}.running_var"), conv.outputs)?;
        let per_output = conv.weights_per_output();
        for (output, weights) in conv.weight.chunks_exact_mut(per_output).enumerate() {
            if variance[output] < 0.0 {
                return Err(FoldError::Value(format!("{norm}.running_var")));
            }
            let factor = f64::from(scale[output])
                / (f64::from(variance[output]) + BATCH_NORM_EPSILON).sqrt();
            for weight in weights {
                *weight = (f64::from(*weight) * factor) as f32;
            }
            let centered = f64::from(conv.bias[output]) - f64::from(mean[output]);
            conv.bias[output] = (centered * factor + f64::from(shift[output])) as f32;
        }
        if conv.weight.iter().chain(&conv.bias).any(|value| !value.is_finite()) {
            return Err(FoldError::Value(norm.into()));
        }
        Ok(conv)
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn read(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), FoldError> {
        let tensor = self.tensors.get(name).ok_or_else(|| FoldError::Missing(name.into()))?;
        let values = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all())
            .and_then(|tensor| tensor.to_vec1::<f32>())
            .map_err(|source| FoldError::Tensor { name: name.into(), source })?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(FoldError::Value(name.into()));
        }
        self.used.insert(name.into());
        Ok((tensor.dims().to_vec(), values))
    }

    fn read_vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, FoldError> {
        let (shape, values) = self.read(name)?;
        if shape == [length] {
            return Ok(values);
        }
        Err(FoldError::Shape { name: name.into(), found: shape, expected: format!("({length})") })
    }

    fn nothing_left(&self) -> Result<(), FoldError> {
        match self.tensors.keys().find(|name| !self.used.contains(*name)) {
            Some(name) => Err(FoldError::Unused(name.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::testing::random_network;
    use candle_core::Device;

    #[test]
    fn structure_follows_the_names() {
        let network = fold(&random_network(4, 1)).unwrap();
        let widths = |stages: &[Vec<Conv>]| -> Vec<(usize, usize)> {
            stages.iter().flatten().map(|conv| (conv.inputs, conv.outputs)).collect()
        };
        let encoder = [(3, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)];
        assert_eq!(widths(&network.encoder)[..8], encoder);
        let decoder = [(64, 32), (32, 16), (32, 16), (16, 8), (16, 8), (8, 4), (8, 4), (4, 4)];
        assert_eq!(widths(&network.decoder), decoder);
        assert_eq!((network.glaucoma.inputs, network.side_multiple()), (32, 16));
        assert_eq!(network.convs().count(), 10 + 8 + 4);
    }

    /// One channel by hand: w = 2, c = 1, and a BatchNorm of g = 3, b = 0.5, m = -1, v = 4 - eps.
    #[test]
    fn one_channel_by_hand() {
        let mut tensors = random_network(4, 1);
        let set = |tensors: &mut BTreeMap<String, Tensor>, name: &str, value: f64| {
            let name = format!("encoder.stage1.{name}");
            let filled = (tensors[&name].zeros_like().unwrap() + value).unwrap();
            tensors.insert(name, filled);
        };
        for (name, value) in [
            ("conv1.weight", 2.0),
            ("conv1.bias", 1.0),
            ("norm1.weight", 3.0),
            ("norm1.bias", 0.5),
            ("norm1.running_mean", -1.0),
            ("norm1.running_var", 4.0 - BATCH_NORM_EPSILON),
        ] {
            set(&mut tensors, name, value);
        }
        let network = fold(&tensors).unwrap();
        let conv = &network.encoder[0][0];
        assert!(conv.weight.iter().all(|weight| (weight - 3.0).abs() < 1e-6));
        assert!(conv.bias.iter().all(|bias| (bias - 3.5).abs() < 1e-6));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = random_network(4, 1);
        let refused = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
            let mut tensors = good.clone();
            change(&mut tensors);
            fold(&tensors).unwrap_err().to_string()
        };
        let of = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let error = refused(&|t| drop(t.remove("decoder.stage2.norm1.running_var")));
        assert!(error.contains("no tensor named decoder.stage2.norm1.running_var"), "{error}");
        let error = refused(&|t| drop(t.remove("head.cup.weight")));
        assert!(error.contains("no tensor named head.cup.weight"), "{error}");
        let error = refused(&|t| drop(t.insert("head.age.weight".into(), of(&[1.0]))));
        assert!(error.contains("no layer uses: head.age.weight"), "{error}");
        let error = refused(&|t| drop(t.insert("head.disc.bias".into(), of(&[1.0, 2.0]))));
        assert!(error.contains("head.disc.bias has shape [2], expected (1)"), "{error}");
        let error = refused(&|t| drop(t.insert("head.disc.bias".into(), of(&[f32::NAN]))));
        assert!(error.contains("head.disc.bias holds a value"), "{error}");
        let variance = "encoder.stage1.norm1.running_var";
        let error = refused(&|t| drop(t.insert(variance.into(), of(&[1.0, 1.0, -0.1, 1.0]))));
        assert!(error.contains(variance), "{error}");
        let weight = "encoder.stage1.conv1.weight";
        let error = refused(&|t| {
            let wrong = Tensor::zeros((4, 1, 3, 3), DType::F32, &Device::Cpu).unwrap();
            t.insert(weight.into(), wrong);
        });
        assert!(error.contains("expected (outputs, 3, k, k)"), "{error}");
    }
}
