//! Eight-bit numbers for weights, biases and maps.
//!
//! A real value r is stored as the integer `q = round(r / scale) + zero`, rounded half to even and
//! saturated. Weights have one scale an output channel and stay within ±127; maps have one scale
//! each (a group of maps shares it, see [`scale_groups`]); a bias is an i32 in units of
//! `input scale x weight scale`, so that an integer engine adds it to its sums as it is.
//! The first convolution, which reads the photograph, and the heads stay in f32: they are below
//! one per cent of the work, and the photograph's own 8 bits would not fit into [`Levels::Half`].

use super::calibrate::Observed;
use super::fold::{Conv, FoldedNetwork};
use super::plan::{Step, plan, scale_groups};
use crate::network::grid::{Clipping, Levels};
use std::collections::BTreeMap;

/// What is chosen in quantising.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheme {
    /// Integers in use for maps.
    pub levels: Levels,
    /// Where the values of each group of maps are cut off.
    pub clipping: BTreeMap<String, Clipping>,
}

impl Scheme {
    /// One way of clipping for all groups that were observed.
    #[must_use]
    pub fn uniform(observed: &Observed, levels: Levels, clipping: Clipping) -> Self {
        let groups = observed.groups().map(|group| (group.clone(), clipping));
        Self { levels, clipping: groups.collect() }
    }

    /// The value of one step of each group of maps.
    ///
    /// # Errors
    /// A group that calibration did not see, or that is zero throughout.
    pub fn scales(&self, observed: &Observed) -> Result<BTreeMap<String, f32>, QuantizeError> {
        let scale = |(group, clipping): (&String, &Clipping)| {
            let histogram =
                observed.of(group).ok_or_else(|| QuantizeError::NotObserved(group.clone()))?;
            let scale = histogram.scale(*clipping, self.levels);
            Ok((group.clone(), scale.ok_or_else(|| QuantizeError::Dead(group.clone()))?))
        };
        self.clipping.iter().map(scale).collect()
    }
}

/// The integers of one convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedConv {
    /// Shape as the convolution's weight; within ±127.
    pub weight: Vec<i8>,
    /// Value of one step, an output channel.
    pub weight_scale: Vec<f32>,
    /// One an output channel.
    pub bias: Vec<i32>,
    /// Value of one step of the bias, an output channel: input scale x weight scale.
    pub bias_scale: Vec<f32>,
}

/// A whole network's scales and integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// Integers in use for maps.
    pub levels: Levels,
    /// Value of one step of each quantised map.
    pub map_scale: BTreeMap<String, f32>,
    /// The convolutions that are stored as integers, by name; the others stay f32.
    pub convs: BTreeMap<String, QuantizedConv>,
}

/// Why a network could not be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// No values were seen for this map.
    #[error("quantize: calibration saw no values of {0}")]
    NotObserved(String),
    /// The map is zero on every calibration photograph.
    #[error(
        "quantize: {0} is zero on every calibration photograph: a dead network, or black photographs"
    )]
    Dead(String),
}

/// Rounds every convolution that reads a quantised map, with maps in steps of `scales`, by group.
///
/// # Errors
/// A group of maps without a scale.
pub fn quantize(
    network: &FoldedNetwork,
    levels: Levels,
    scales: &BTreeMap<String, f32>,
) -> Result<Quantization, QuantizeError> {
    let steps = plan(network);
    let scale_of = |(map, group): (String, String)| match scales.get(&group) {
        Some(scale) => Ok((map, *scale)),
        None => Err(QuantizeError::NotObserved(group)),
    };
    let map_scale: BTreeMap<String, f32> =
        scale_groups(&steps).into_iter().map(scale_of).collect::<Result<_, _>>()?;
    let mut convs = BTreeMap::new();
    for step in &steps {
        if let Step::Conv { input, conv } = step
            && let Some(&input_scale) = map_scale.get(input)
        {
            convs.insert(conv.name.clone(), quantize_conv(conv, input_scale));
        }
    }
    Ok(Quantization { levels, map_scale, convs })
}

/// Rounds one convolution whose input has steps of `input_scale`.
///
/// A channel's scale is its largest weight / 127, or more where the bias would not fit into an
/// i32 otherwise (a channel whose weights are next to zero).
#[must_use]
pub fn quantize_conv(conv: &Conv, input_scale: f32) -> QuantizedConv {
    let mut quantized = QuantizedConv {
        weight: Vec::with_capacity(conv.weight.len()),
        weight_scale: Vec::with_capacity(conv.outputs),
        bias: Vec::with_capacity(conv.outputs),
        bias_scale: Vec::with_capacity(conv.outputs),
    };
    // A quarter of the largest i32: the sums of products still fit above the bias.
    let largest_bias = f64::from(i32::MAX / 4);
    for (weights, &bias) in conv.weight.chunks_exact(conv.weights_per_output()).zip(&conv.bias) {
        let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let for_bias = f64::from(bias.abs()) / (largest_bias * f64::from(input_scale));
        // Smallest: the product with the input scale must still be a normal number.
        let smallest = f64::from(f32::MIN_POSITIVE) / f64::from(input_scale.min(1.0));
        let scale = (f64::from(largest) / 127.0).max(for_bias).max(smallest) as f32;
        let bias_scale = scale * input_scale;
        quantized.weight.extend(weights.iter().map(|weight| {
            (f64::from(*weight) / f64::from(scale)).round_ties_even().clamp(-127.0, 127.0) as i8
        }));
        quantized.bias.push((f64::from(bias) / f64::from(bias_scale)).round_ties_even() as i32);
        quantized.weight_scale.push(scale);
        quantized.bias_scale.push(bias_scale);
    }
    quantized
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::calibrate::observe;
    use crate::export::fold::fold;
    use crate::export::testing::{photograph, random_network};
    use proptest::prelude::*;

    fn conv(weight: Vec<f32>, bias: Vec<f32>) -> Conv {
        let inputs = weight.len() / bias.len();
        Conv { name: "conv".into(), inputs, outputs: bias.len(), kernel: 1, weight, bias }
    }

    proptest! {
        #[test]
        fn weights_and_biases_come_back_within_half_a_step(
            weight in prop::collection::vec(-3.0f32..3.0, 24),
            small in prop::collection::vec(-1e-3f32..1e-3, 24),
            bias in prop::collection::vec(-5.0f32..5.0, 8),
            input_scale in 1e-4f32..1.0,
        ) {
            // Channels of very different size: each has a scale of its own.
            let conv = conv([weight, small].concat(), bias);
            let quantized = quantize_conv(&conv, input_scale);
            let per_output = conv.weights_per_output();
            for (index, (&integer, &weight)) in quantized.weight.iter().zip(&conv.weight).enumerate() {
                let scale = quantized.weight_scale[index / per_output];
                prop_assert!((-127..=127).contains(&integer));
                prop_assert!((f32::from(integer) * scale - weight).abs() <= scale * 0.5001);
            }
            for (output, &bias) in conv.bias.iter().enumerate() {
                let scale = f64::from(quantized.bias_scale[output]);
                prop_assert_eq!(
                    quantized.bias_scale[output],
                    quantized.weight_scale[output] * input_scale
                );
                let back = f64::from(quantized.bias[output]) * scale;
                prop_assert!((back - f64::from(bias)).abs() <= scale * 0.5001);
            }
        }
    }

    #[test]
    fn a_channel_without_weights_keeps_its_bias() {
        for weight in [0.0, 1e-30, 1e-12] {
            let quantized = quantize_conv(&conv(vec![weight; 4], vec![0.75, -2.0]), 1e-3);
            for (bias, expected) in [(0, 0.75), (1, -2.0)] {
                let scale = f64::from(quantized.bias_scale[bias]);
                assert!(scale.is_normal());
                let back = f64::from(quantized.bias[bias]) * scale;
                assert!((back - expected).abs() < 1e-6, "weight {weight}: {back} for {expected}");
            }
        }
    }

    #[test]
    fn maps_of_a_concatenation_share_their_scale() {
        let network = fold(&random_network(4, 3)).unwrap();
        let photographs = [photograph(32, 1), photograph(32, 2)];
        let observed = observe(&network, 32, 1.0 / 255.0, &photographs).unwrap();
        let scheme = Scheme::uniform(&observed, Levels::Half, Clipping::Largest);
        let scales = scheme.scales(&observed).unwrap();
        let scales = quantize(&network, Levels::Half, &scales).unwrap().map_scale;
        let (skip, pooled) = ("encoder.stage1.conv2", "encoder.stage1.pool");
        for map in [pooled, "decoder.stage4.up", "decoder.stage4.concat"] {
            assert_eq!(scales[map], scales[skip], "{map}");
        }
        assert!(scales["encoder.stage2.conv1"] != scales["encoder.stage2.conv2"]);
        // Nothing is cut off where the largest value sets the scale.
        let histogram = observed.of(skip).unwrap();
        assert_eq!(histogram.limit(Clipping::Largest, Levels::Half) / 127.0, scales[skip]);
    }

    #[test]
    fn black_photographs_are_refused() {
        let network = fold(&random_network(4, 3)).unwrap();
        let none = observe(&network, 32, 1.0 / 255.0, &[]).unwrap();
        let scheme = Scheme::uniform(&none, Levels::Half, Clipping::Largest);
        assert!(matches!(scheme.scales(&none), Err(QuantizeError::Dead(_))));
        let error = scheme.scales(&Observed::default()).unwrap_err();
        assert!(matches!(error, QuantizeError::NotObserved(_)));
        let error = quantize(&network, Levels::Half, &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, QuantizeError::NotObserved(_)));
    }
}
