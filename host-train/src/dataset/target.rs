//! From examples to tensors: targets with weights, so that a missing label never teaches anything.

use super::DatasetError;
use super::example::Example;
use super::packed::PackedBatch;
use crate::network::Task;
use crate::network::cuda::Kept;
use candle_core::{Device, Tensor};
use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::{NetworkPoint, to_input};
use std::borrow::Borrow;
use std::sync::Arc;

/// What one step sees.
#[derive(Debug, Clone)]
pub struct Batch {
    /// (B, 3, S, S) f32, RGB, 0..1.
    pub images: Tensor,
    /// Glaucoma labels, values 0 or 1 of shape (B). `None`: no image of the batch is labelled.
    pub glaucoma: Option<Target>,
    /// Disc masks, values 0 or 1 of shape (B, 1, S, S).
    pub disc: Option<Target>,
    /// Cup masks, values 0 or 1 of shape (B, 1, S, S).
    pub cup: Option<Target>,
    /// Fovea maps, values 0..1 of shape (B, 1, S, S); see [`fovea_map`].
    pub fovea: Option<Target>,
    /// The examples' ids, in the order of the images.
    pub ids: Vec<String>,
}

/// One task's labels in a batch.
#[derive(Debug, Clone)]
pub struct Target {
    /// (B) or (B, 1, S, S) f32; zero where the weight is 0.
    pub values: Tensor,
    /// (B) f32: 1 labelled, 0 not.
    pub weights: Tensor,
    /// How many images are labelled; at least 1.
    pub labelled: usize,
}

impl Target {
    /// Values (B, ...) of images that count so much each.
    pub(crate) fn new(values: Tensor, weights: Vec<f32>) -> Result<Self, DatasetError> {
        let labelled = weights.iter().filter(|&&weight| weight > 0.0).count();
        let count = weights.len();
        let weights = Tensor::from_vec(weights, count, values.device())?;
        Ok(Self { values, weights, labelled })
    }
}

impl Batch {
    /// The task's labels; `None` when no image of the batch has one.
    pub fn target(&self, task: Task) -> Option<&Target> {
        match task {
            Task::Glaucoma => self.glaucoma.as_ref(),
            Task::Disc => self.disc.as_ref(),
            Task::Cup => self.cup.as_ref(),
            Task::Fovea => self.fovea.as_ref(),
        }
    }

    /// Makes one batch of examples of one side.
    ///
    /// `scale` is the input contract's factor from 0..255 to the network's range.
    ///
    /// # Errors
    /// No example, or examples of different sides, or a failure of the tensor library.
    pub fn from_examples(
        examples: &[Example],
        scale: f32,
        device: &Device,
    ) -> Result<Self, DatasetError> {
        if device.is_cuda() {
            let kept = Arc::new(Kept::new(device, 0)?);
            let once: Vec<_> = examples.iter().map(|example| (example, None)).collect();
            return PackedBatch::new(&once, scale, &kept)?.into_batch();
        }
        HostBatch::new(examples, scale)?.into_batch(device)
    }
}

/// A batch in the host's memory with all its values, as the CPU takes it.
pub(crate) struct HostBatch {
    side: usize,
    images: Vec<f32>,
    glaucoma: Option<HostTarget>,
    disc: Option<HostTarget>,
    cup: Option<HostTarget>,
    fovea: Option<HostTarget>,
    ids: Vec<String>,
}

pub(crate) struct HostTarget {
    values: Vec<f32>,
    weights: Vec<f32>,
}

impl HostBatch {
    pub(crate) fn new(examples: &[impl Borrow<Example>], scale: f32) -> Result<Self, DatasetError> {
        let examples: Vec<&Example> = examples.iter().map(Borrow::borrow).collect();
        let side = one_side(&examples)?;
        let pixels = (side as usize) * (side as usize);
        let images = examples.iter().flat_map(|example| to_input(&example.pixels, scale)).collect();
        let class = |example: &Example, out: &mut [f32]| fill_class(example.glaucoma, out);
        let disc = |example: &Example, out: &mut [f32]| fill_mask(example.disc.as_ref(), out);
        let cup = |example: &Example, out: &mut [f32]| fill_mask(example.cup.as_ref(), out);
        let fovea = |example: &Example, out: &mut [f32]| fill_fovea(example.fovea, side, out);
        Ok(Self {
            side: side as usize,
            images,
            glaucoma: HostTarget::new(&examples, 1, class),
            disc: HostTarget::new(&examples, pixels, disc),
            cup: HostTarget::new(&examples, pixels, cup),
            fovea: HostTarget::new(&examples, pixels, fovea),
            ids: examples.iter().map(|example| example.id.clone()).collect(),
        })
    }

    pub(crate) fn into_batch(self, device: &Device) -> Result<Batch, DatasetError> {
        let (count, side) = (self.ids.len(), self.side);
        let map = |target: Option<HostTarget>| {
            target.map(|t| t.into_target(&[count, 1, side, side], device)).transpose()
        };
        Ok(Batch {
            images: Tensor::from_vec(self.images, (count, 3, side, side), device)?,
            glaucoma: self.glaucoma.map(|t| t.into_target(&[count], device)).transpose()?,
            disc: map(self.disc)?,
            cup: map(self.cup)?,
            fovea: map(self.fovea)?,
            ids: self.ids,
        })
    }
}

impl HostTarget {
    /// `fill` writes one example's `length` values and says whether there was a label to write.
    pub(crate) fn new(
        examples: &[&Example],
        length: usize,
        fill: impl Fn(&Example, &mut [f32]) -> bool,
    ) -> Option<Self> {
        let mut values = vec![0.0; examples.len() * length];
        let mut weights = vec![0.0; examples.len()];
        for ((example, out), weight) in
            examples.iter().zip(values.chunks_exact_mut(length)).zip(&mut weights)
        {
            if fill(example, out) {
                *weight = 1.0;
            }
        }
        weights.contains(&1.0).then_some(Self { values, weights })
    }

    pub(crate) fn into_target(
        self,
        shape: &[usize],
        device: &Device,
    ) -> Result<Target, DatasetError> {
        Target::new(Tensor::from_vec(self.values, shape, device)?, self.weights)
    }
}

/// The side that all have, at least 1.
///
/// # Errors
/// No example, or one of another side.
pub(crate) fn one_side(examples: &[&Example]) -> Result<u32, DatasetError> {
    let side = examples.first().map(|example| example.side()).unwrap_or_default();
    if side == 0 {
        return Err(DatasetError::Options("a batch needs at least one example".into()));
    }
    for example in examples {
        if example.pixels.dimensions() != (side, side) {
            let (width, height) = example.pixels.dimensions();
            return Err(DatasetError::Options(format!(
                "{}: {width}x{height} pixels in a batch of {side}x{side}",
                example.id
            )));
        }
    }
    Ok(side)
}

pub(crate) fn fill_class(label: Option<bool>, out: &mut [f32]) -> bool {
    if let (Some(positive), Some(value)) = (label, out.first_mut()) {
        *value = f32::from(u8::from(positive));
    }
    label.is_some()
}

fn fill_mask(mask: Option<&Mask>, out: &mut [f32]) -> bool {
    let Some(mask) = mask else { return false };
    let width = mask.width();
    for (index, value) in (0u32..).zip(out.iter_mut()) {
        if mask.get(index % width, index / width) {
            *value = 1.0;
        }
    }
    true
}

fn fill_fovea(point: Option<NetworkPoint>, side: u32, out: &mut [f32]) -> bool {
    if let Some(point) = point {
        write_fovea_map(point, side, out);
    }
    point.is_some()
}

/// The target map of a fovea at `point`, `side` x `side` values row by row.
///
/// An isotropic Gaussian of peak 1 and variance 50 square pixels at 256x256, the variance scaled by
/// (side/256)^2 so that the blob covers the same part of the retina at every side (Pascal et al.
/// 2022, "Fovea detection task"; the variance is the reference implementation's).
pub fn fovea_map(point: NetworkPoint, side: u32) -> Vec<f32> {
    let mut map = vec![0.0; (side as usize) * (side as usize)];
    write_fovea_map(point, side, &mut map);
    map
}

fn write_fovea_map(point: NetworkPoint, side: u32, out: &mut [f32]) {
    let scale = f64::from(side) / 256.0;
    let variance = 50.0 * scale * scale;
    // exp(-(dx^2 + dy^2) / 2v) is a product of one factor a column and one a row.
    let factors = |at: f64| -> Vec<f64> {
        (0..side).map(|i| (-(f64::from(i) - at).powi(2) / (2.0 * variance)).exp()).collect()
    };
    let (columns, rows) = (factors(point.x), factors(point.y));
    for (line, row) in out.chunks_exact_mut(side as usize).zip(&rows) {
        for (value, column) in line.iter_mut().zip(&columns) {
            *value = (row * column) as f32;
        }
    }
}
