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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::{MaskSource, Truth};
    use glaucoma_common::manifest::{Anatomy, Decoding};
    use glaucoma_common::preprocess::{NativePoint, NetworkPoint};
    use glaucoma_common::reading::read;

    const SIZE: (u32, u32) = (256, 256);

    fn circle(diameter: f64) -> MaskSource {
        MaskSource::Circle { center: NativePoint { x: 80.0, y: 120.0 }, diameter }
    }

    /// A photograph four times the network's side, and an output that repeats its truth.
    #[test]
    fn what_is_right_in_the_network_is_right_in_the_photograph() {
        let placement = Placement::square(NativePoint { x: 127.5, y: 127.5 }, 256.0, 64);
        let map = |source: &MaskSource| -> Vec<f32> {
            let native = source.load_native(SIZE.0, SIZE.1).unwrap();
            let inside = placement.mask_to_network(&native);
            inside.data().iter().map(|&inside| f32::from(u8::from(inside))).collect()
        };
        let found = NetworkPoint { x: 44.0, y: 30.0 };
        let mut fovea = vec![0.0; 64 * 64];
        fovea[30 * 64 + 44] = 1.0;
        let output = NetworkOutput {
            side: 64,
            glaucoma: 0.5,
            disc: map(&circle(60.0)),
            cup: map(&circle(30.0)),
            fovea,
        };
        let NativePoint { x, y } = placement.to_native(found);
        let truth = Truth {
            disc: Some(MaskTruth::real(circle(60.0))),
            cup: Some(MaskTruth::pseudo(circle(30.0))),
            fovea: Some(NativePoint { x: x + 8.0, y: y + 6.0 }),
            ..Truth::default()
        };
        let mut sample = Sample {
            id: "a/b".into(),
            dataset: "a".into(),
            photo: "b".into(),
            patient: None,
            part: None,
            declared_size: Some(SIZE),
            truth,
            framing: None,
        };
        let reading = read(&output, &placement, &Decoding::default(), &Anatomy::default());
        let score = |sample: &Sample| native_score(sample, SIZE, &placement, &output, &reading);
        let first = score(&sample).unwrap();
        // Edges are jagged by up to two native pixels: a ring of about 60 pi of 30 * 30 pi.
        assert!(first.disc_dice.unwrap() > 0.95);
        assert!((first.fovea_px.unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(
            (first.cup_dice, first.true_vcdr),
            (None, None),
            "a machine-made cup is no truth"
        );
        sample.truth.cup = Some(MaskTruth::real(circle(30.0)));
        let second = score(&sample).unwrap();
        assert!(second.cup_dice.unwrap() > 0.9);
        assert!((second.vcdr.unwrap() - second.true_vcdr.unwrap()).abs() < 0.1);
        assert!((second.true_vcdr.unwrap() - 0.5).abs() < 0.02);
    }
}
