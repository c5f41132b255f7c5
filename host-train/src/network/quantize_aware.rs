//! A network that computes as its quantised file will: convolutions on rounded weights, maps on the
//! grids of integers that the file will keep.
//!
//! Maps that the device keeps as one share a scale: a convolution's output, its pooled form, and what
//! the decoder enlarges and puts beside it. Such a group is called after the convolution. The first
//! convolution's weights and the heads stay as they are, in the file too. Normalisations take their
//! running statistics, in training too, as the file does: only then is a weight's grid the one that
//! the file will have (a normalisation multiplies each output channel by a constant, and a channel's
//! grid of 127 steps with it).

use super::grid::{Clipping, Histogram, Levels};
use super::layers::fake_quant::{fake_quant_map, fake_quant_weight};
use super::tape::Tape;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The convolution that reads the photograph.
const FIRST: &str = "encoder.stage1.conv1";

/// How the grids of a quantisation-aware training are chosen, once, before its first step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeAware {
    /// Integers in use for maps.
    pub levels: Levels,
    /// Where a map's values are cut off.
    pub clipping: Clipping,
    /// Training images that the maps' values are taken from.
    pub images: usize,
}

impl Default for QuantizeAware {
    fn default() -> Self {
        Self { levels: Levels::Half, clipping: Clipping::LeastSquares, images: 32 }
    }
}

/// The grids that a network was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapScales {
    /// Integers in use.
    pub levels: Levels,
    /// The value of one step of each group of maps.
    pub scales: BTreeMap<String, f32>,
}

/// What a network does with each of its maps.
#[derive(Debug, Default)]
pub(super) enum Maps {
    /// Nothing.
    #[default]
    Float,
    /// Counts the values of each group.
    Observed(RefCell<BTreeMap<String, Histogram>>),
    /// Puts them on these grids.
    Quantized(MapScales),
}

impl Maps {
    pub(super) fn is_quantized(&self) -> bool {
        matches!(self, Self::Quantized(_))
    }

    /// A map of `group` as the next layer reads it.
    pub(super) fn pass(&self, tape: &Tape, group: &str, map: Tensor) -> Result<Tensor> {
        match self {
            Self::Float => Ok(map),
            Self::Observed(histograms) => {
                let values = map.flatten_all()?.to_vec1::<f32>()?;
                histograms.borrow_mut().entry(group.to_owned()).or_default().add(&values);
                Ok(map)
            }
            Self::Quantized(MapScales { levels, scales }) => match scales.get(group) {
                Some(scale) => fake_quant_map(tape, &map, *scale, levels.steps()),
                None => candle_core::bail!("quantize-aware: no scale for {group}"),
            },
        }
    }

    /// The weight of the convolution `name` as it convolves.
    pub(super) fn weight(&self, tape: &Tape, name: &str, weight: &Tensor) -> Result<Tensor> {
        match self {
            Self::Quantized(_) if name != FIRST => fake_quant_weight(tape, weight),
            _ => Ok(weight.clone()),
        }
    }
}
