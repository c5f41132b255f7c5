//! What the layers of a stack are called in files of different origin.

use super::{PretrainedError, Tensors};
use crate::network::Encoder;
use std::collections::BTreeSet;
use std::path::Path;

/// What one layer's tensors are called: weight, bias, and the normalisation's weight, bias, running
/// mean and running variance.
pub struct Names {
    pub weight: String,
    pub bias: String,
    pub norm: Option<[String; 4]>,
}

/// Where a file comes from, which says how its authors fed the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `features.N.weight`, by position.
    Torchvision,
    /// `blockB_convC` somewhere in each name.
    Keras,
}

/// A stack as its names tell it.
pub struct Layout {
    pub origin: Origin,
    pub encoder: Encoder,
    pub normalised: bool,
    pub stages: [Vec<Names>; 5],
}

impl Layout {
    /// The one stack whose names are exactly those in the file. What belongs to the classifier behind
    /// it is left alone.
    ///
    /// # Errors
    /// [`PretrainedError::Names`]: what the most similar stack lacks and has too much.
    pub fn find(path: &Path, tensors: &Tensors) -> Result<Self, PretrainedError> {
        let keras = tensors.keys().any(|name| block_of(name).is_some());
        let own = |name: &&str| match keras {
            true => block_of(name).is_some(),
            false => !name.starts_with("classifier.") && !name.ends_with(".num_batches_tracked"),
        };
        let own: BTreeSet<&str> = tensors.keys().map(String::as_str).filter(own).collect();
        let candidates = [Encoder::Vgg13, Encoder::Vgg16].into_iter().flat_map(|encoder| {
            let torchvision = [true, false].map(|normalised| torchvision(encoder, normalised));
            if keras { vec![self::keras(encoder, tensors)] } else { torchvision.into() }
        });
        let off = |layout: &Layout| layout.all().symmetric_difference(&own).count();
        let nearest = candidates.min_by_key(off);
        let Some(layout) = nearest else {
            return Err(PretrainedError::Empty { path: path.to_path_buf() });
        };
        let all = layout.all();
        if all == own {
            return Ok(layout);
        }
        let list = |one: &BTreeSet<&str>, other: &BTreeSet<&str>| {
            one.difference(other).map(|name| (*name).to_owned()).collect::<Vec<_>>()
        };
        Err(PretrainedError::Names {
            path: path.to_path_buf(),
            nearest: layout.describe(),
            missing: list(&all, &own),
            unexpected: list(&own, &all),
        })
    }

    /// What it is, in words.
    pub fn describe(&self) -> String {
        let number = if self.encoder == Encoder::Vgg13 { 13 } else { 16 };
        let with = if self.normalised { "with" } else { "without" };
        format!("VGG-{number} {with} batch normalisation, named as {:?} does", self.origin)
    }

    fn all(&self) -> BTreeSet<&str> {
        let names = self.stages.iter().flatten();
        let all =
            names.flat_map(|n| [&n.weight, &n.bias].into_iter().chain(n.norm.iter().flatten()));
        all.map(String::as_str).collect()
    }
}

/// Positions count every module: a convolution, its normalisation, its ReLU; then the stage's pool.
fn torchvision(encoder: Encoder, normalised: bool) -> Layout {
    let mut position = 0;
    let stages = encoder.convolutions().map(|count| {
        let stage = (0..count).map(|_| {
            let at = |offset: usize, part: &str| format!("features.{}.{part}", position + offset);
            let norm = ["weight", "bias", "running_mean", "running_var"].map(|part| at(1, part));
            let (weight, bias) = (at(0, "weight"), at(0, "bias"));
            position += if normalised { 3 } else { 2 };
            Names { weight, bias, norm: normalised.then_some(norm) }
        });
        let stage = stage.collect();
        position += 1;
        stage
    });
    Layout { origin: Origin::Torchvision, encoder, normalised, stages }
}

fn keras(encoder: Encoder, tensors: &Tensors) -> Layout {
    let find = |block: usize, convolution: usize, rank: usize| {
        let mut named = tensors.iter().filter(|(name, tensor)| {
            block_of(name) == Some((block, convolution)) && tensor.rank() == rank
        });
        let absent = || format!("block{block}_conv{convolution} with {rank} sides");
        named.next().map_or_else(absent, |(name, _)| name.clone())
    };
    let mut block = 0;
    let stages = encoder.convolutions().map(|count| {
        block += 1;
        let of = |at| Names { weight: find(block, at, 4), bias: find(block, at, 1), norm: None };
        (1..=count).map(of).collect()
    });
    Layout { origin: Origin::Keras, encoder, normalised: false, stages }
}

/// B and C of a name with `blockB_convC` in it, one digit each.
fn block_of(name: &str) -> Option<(usize, usize)> {
    let (_, rest) = name.split_once("block")?;
    let (block, rest) = rest.split_once("_conv")?;
    let convolution = rest.chars().next()?.to_digit(10)? as usize;
    Some((block.parse().ok()?, convolution))
}
