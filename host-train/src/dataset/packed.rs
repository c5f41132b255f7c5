//! A batch as a GPU takes it: the bytes of what it does not keep yet, and the labels that are numbers.

use super::DatasetError;
use super::example::Example;
use super::target::{Batch, HostTarget, Target, fill_class, one_side};
use crate::network::cuda::{Kept, Key, Packed, Shown};
use candle_core::Tensor;
use std::sync::Arc;

/// A batch in the host's memory on its way to a GPU.
pub(crate) struct PackedBatch {
    kept: Arc<Kept>,
    side: u32,
    scale: f32,
    examples: Vec<Packed>,
    glaucoma: Option<HostTarget>,
    ids: Vec<String>,
}

impl PackedBatch {
    /// Of examples of one side, each with the key under which `kept` may keep it.
    ///
    /// # Errors
    /// No example, examples of different sides, or a mask of another size than its picture.
    pub(crate) fn new(
        examples: &[(&Example, Option<Key>)],
        scale: f32,
        kept: &Arc<Kept>,
    ) -> Result<Self, DatasetError> {
        let plain: Vec<&Example> = examples.iter().map(|(example, _)| *example).collect();
        let side = one_side(&plain)?;
        let packed = examples.iter().map(|(example, key)| pack(example, *key, kept));
        Ok(Self {
            kept: Arc::clone(kept),
            side,
            scale,
            examples: packed.collect::<Result<_, _>>()?,
            glaucoma: HostTarget::new(&plain, 1, |e, out| fill_class(e.glaucoma, out)),
            ids: plain.iter().map(|example| example.id.clone()).collect(),
        })
    }

    /// The same on the device, with the values that [`super::target::HostBatch`] has.
    ///
    /// # Errors
    /// Failures of the device.
    pub(crate) fn into_batch(self) -> Result<Batch, DatasetError> {
        let shown = self.kept.show(&self.examples, self.side as usize, self.scale)?;
        let Shown { images, disc, cup, fovea } = shown;
        let device = images.device().clone();
        let target = |values: Option<Tensor>, has: fn(&Packed) -> bool| {
            let weights = self.examples.iter().map(|example| f32::from(u8::from(has(example))));
            values.map(|values| Target::new(values, weights.collect())).transpose()
        };
        Ok(Batch {
            glaucoma: self
                .glaucoma
                .map(|t| t.into_target(&[self.ids.len()], &device))
                .transpose()?,
            disc: target(disc, |example| example.disc)?,
            cup: target(cup, |example| example.cup)?,
            fovea: target(fovea, |example| example.fovea.is_some())?,
            images,
            ids: self.ids,
        })
    }
}

fn pack(example: &Example, key: Option<Key>, kept: &Kept) -> Result<Packed, DatasetError> {
    let masks = [&example.disc, &example.cup].map(Option::as_ref);
    let square = example.pixels.dimensions();
    if masks.iter().flatten().any(|mask| (mask.width(), mask.height()) != square) {
        let what = format!("{}: a mask is not of its picture's size", example.id);
        return Err(DatasetError::Options(what));
    }
    let bytes = || {
        let mut bytes = example.pixels.as_raw().clone();
        for mask in masks.into_iter().flatten() {
            bytes.extend(mask.data().iter().map(|&inside| u8::from(inside)));
        }
        bytes
    };
    Ok(Packed {
        key,
        bytes: (!key.is_some_and(|key| kept.holds(key))).then(bytes),
        disc: example.disc.is_some(),
        cup: example.cup.is_some(),
        fovea: example.fovea.map(|point| [point.x, point.y]),
    })
}
