//! One picture: what was said of it beside what is true of it.

use super::native::NativeScore;
use crate::dataset::batches::Example;
use glaucoma_common::manifest::{Anatomy, Decoding};
use glaucoma_common::mask::Mask;
use glaucoma_common::metrics::dice;
use glaucoma_common::preprocess::NetworkPoint;
use glaucoma_common::reading::{NetworkOutput, Reading, Region, read, vcdr_of};
use glaucoma_common::risk::{VcdrModel, fuse};
use serde::{Deserialize, Serialize};

/// One picture's measurements. What has no truth, or only a machine-made one, is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scored {
    /// The sample's id.
    pub id: String,
    /// Truth: glaucoma.
    pub glaucoma: Option<bool>,
    /// The classifier's probability.
    pub classifier: Option<f64>,
    /// The vertical cup-to-disc ratio read from the predicted masks.
    pub vcdr: Option<f64>,
    /// The linear vCDR classifier's probability for it.
    pub vcdr_probability: Option<f64>,
    /// The device's probability: mean of both, or the classifier's where there is no ratio.
    pub fused: Option<f64>,
    /// Dice of the disc mask in network pixels; an unread disc scores 0 unless truth is empty too.
    pub disc_dice: Option<f64>,
    /// Dice of the cup mask in network pixels.
    pub cup_dice: Option<f64>,
    /// Truth: vertical cup-to-disc ratio of the true masks in network pixels.
    pub true_vcdr: Option<f64>,
    /// Truth has a fovea within the picture.
    pub has_fovea: bool,
    /// Distance of the fovea from the true one, network pixels; `None` also when none was read.
    pub fovea_px: Option<f64>,
    /// The same distance in native pixels as a percentage of the photograph's width.
    pub fovea_percent: Option<f64>,
    /// What tells its camera; empty where nobody asked.
    pub camera: String,
    /// The same in native pixels, where asked for.
    pub native: Option<NativeScore>,
}

/// Measures one picture. `native_width` is the photograph's width in pixels, the side that the
/// fovea's error is related to.
#[must_use]
pub fn score(
    example: &Example,
    native_width: f64,
    output: &NetworkOutput,
    decoding: &Decoding,
    vcdr_model: Option<&VcdrModel>,
) -> Scored {
    let reading = reading_of(example, output, decoding);
    score_reading(example, native_width, output, &reading, vcdr_model)
}

/// What the device would read from `output` on `example`.
#[must_use]
pub fn reading_of(example: &Example, output: &NetworkOutput, decoding: &Decoding) -> Reading {
    read(output, &example.placement, decoding, &Anatomy::default())
}

/// [`score`] of what was read from `output` already. A task without a head is not scored.
#[must_use]
pub fn score_reading(
    example: &Example,
    native_width: f64,
    output: &NetworkOutput,
    reading: &Reading,
    vcdr_model: Option<&VcdrModel>,
) -> Scored {
    let real_disc = !example.disc_pseudo && !output.disc.is_empty();
    let real_cup = !example.cup_pseudo && !output.cup.is_empty();
    let disc = example.disc.as_ref().filter(|_| real_disc);
    let cup = example.cup.as_ref().filter(|_| real_cup);
    let vcdr_probability =
        reading.vcdr.zip(vcdr_model).map(|(vcdr, model)| model.probability(vcdr));
    let (fovea_px, fovea_percent) = fovea_error(example, native_width, reading);
    Scored {
        id: example.id.clone(),
        glaucoma: example.glaucoma,
        classifier: reading.classifier_probability,
        vcdr: reading.vcdr,
        vcdr_probability,
        fused: fused(reading, vcdr_model),
        disc_dice: disc.map(|truth| region_dice(truth, reading.disc.as_ref())),
        cup_dice: cup.map(|truth| region_dice(truth, reading.cup.as_ref())),
        true_vcdr: disc.zip(cup).and_then(|(disc, cup)| vcdr_of(disc, cup)),
        has_fovea: example.fovea.is_some() && !output.fovea.is_empty(),
        fovea_px,
        fovea_percent,
        camera: String::new(),
        native: None,
    }
}

fn fused(reading: &Reading, model: Option<&VcdrModel>) -> Option<f64> {
    let classifier = reading.classifier_probability?;
    let both = reading.vcdr.zip(model).map(|(vcdr, model)| fuse(classifier, vcdr, model));
    Some(both.map_or(classifier, |risk| risk.probability))
}

fn region_dice(truth: &Mask, region: Option<&Region>) -> f64 {
    let nothing = Mask::new(truth.width(), truth.height());
    dice(region.map_or(&nothing, |region| &region.mask), truth)
}

fn fovea_error(
    example: &Example,
    native_width: f64,
    reading: &Reading,
) -> (Option<f64>, Option<f64>) {
    let (Some(truth), Some(native)) = (example.fovea, reading.fovea) else { return (None, None) };
    let found: NetworkPoint = example.placement.to_network(native);
    let true_native = example.placement.to_native(truth);
    let pixels = (found.x - truth.x).hypot(found.y - truth.y);
    let native_pixels = (native.x - true_native.x).hypot(native.y - true_native.y);
    (Some(pixels), Some(100.0 * native_pixels / native_width))
}
