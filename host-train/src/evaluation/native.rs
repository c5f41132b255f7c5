//! The protocol of the REFUGE challenge: everything in the photograph's own pixels.

use crate::dataset::{DatasetError, MaskTruth, Sample};
use glaucoma_common::mask::Mask;
use glaucoma_common::metrics::dice;
use glaucoma_common::preprocess::Placement;
use glaucoma_common::reading::{NetworkOutput, Reading, Region, vcdr_of};
use serde::{Deserialize, Serialize};

/// One photograph's measurements in native pixels (Orlando et al. 2020, section 3.2). What has no
/// truth, or only a machine-made one, is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct NativeScore {
    /// Dice of the disc mask.
    pub disc_dice: Option<f64>,
    /// Dice of the cup mask.
    pub cup_dice: Option<f64>,
    /// Vertical cup-to-disc ratio of the predicted masks.
    pub vcdr: Option<f64>,
    /// The same of the true masks.
    pub true_vcdr: Option<f64>,
    /// Distance of the fovea from the true one.
    pub fovea_px: Option<f64>,
}

/// Measures `reading`, read from `output` on a picture placed by `placement`, against the truth of `sample`, a
/// photograph of `size` pixels.
///
/// # Errors
/// A mask that cannot be read or is of another size than the photograph.
pub fn native_score(
    sample: &Sample,
    size: (u32, u32),
    placement: &Placement,
    output: &NetworkOutput,
    reading: &Reading,
) -> Result<NativeScore, DatasetError> {
    let truth = |mask: &Option<MaskTruth>, map: &[f32]| {
        let real = mask.as_ref().filter(|mask| !mask.pseudo && !map.is_empty());
        real.map(|mask| mask.source.load_native(size.0, size.1)).transpose()
    };
    let found = |region: &Option<Region>| match region {
        Some(region) => placement.mask_to_native(&region.mask, size.0, size.1),
        None => Mask::new(size.0, size.1),
    };
    let true_disc = truth(&sample.truth.disc, &output.disc)?;
    let true_cup = truth(&sample.truth.cup, &output.cup)?;
    let (disc, cup) = (found(&reading.disc), found(&reading.cup));
    let both = true_disc.as_ref().zip(true_cup.as_ref());
    let distance = |truth| reading.fovea.map(|found| found.distance_to(truth));
    Ok(NativeScore {
        disc_dice: true_disc.as_ref().map(|truth| dice(&disc, truth)),
        cup_dice: true_cup.as_ref().map(|truth| dice(&cup, truth)),
        vcdr: both.and_then(|_| vcdr_of(&disc, &cup)),
        true_vcdr: both.and_then(|(disc, cup)| vcdr_of(disc, cup)),
        fovea_px: sample.truth.fovea.and_then(distance),
    })
}
