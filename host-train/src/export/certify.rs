//! Whether a written file may become a bundle: it must say what the trained network says.
//!
//! The file's bytes are run in the device's engine, over photographs that took no part in
//! calibration, beside the trainer's own network in evaluation mode. Outside the [`Bounds`] there
//! is no bundle.

use super::agreement::{Agreement, Case, Quality};
use super::engine::{Engine, EngineError};
use glaucoma_common::manifest::{Certificate, Decoding, Precision};
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use std::collections::BTreeMap;

/// How far a file may lie from the trained network. Differences are of probabilities (0 to 1),
/// means are over all photographs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Largest difference of the classifier's probability on any photograph.
    pub glaucoma_max: f64,
    /// Mean difference of the classifier's probability.
    pub glaucoma_mean: f64,
    /// Largest difference of any pixel of any map.
    pub map_max: f64,
    /// Mean difference of a map's pixels.
    pub map_mean: f64,
    /// Share of a mask's pixels (at the threshold) that may differ.
    pub pixels_differing: f64,
    /// Least mean Dice between both discs.
    pub disc_dice: f64,
    /// Least mean Dice between both cups.
    pub cup_dice: f64,
    /// Mean difference of the vertical cup-to-disc ratios.
    pub vcdr_difference: f64,
    /// Mean distance of both foveas, as a share of the photograph's side.
    pub fovea_shift_share: f64,
    /// Loss of mean Dice against the truth, disc and cup.
    pub dice_loss: f64,
    /// Growth of the mean fovea error against the truth, as a share of the side.
    pub fovea_loss_share: f64,
    /// Loss of the classifier's AUC against the truth.
    pub auc_loss: f64,
}

impl Bounds {
    /// For f32: the same numbers but for the order of sums.
    pub const F32: Self = Self {
        glaucoma_max: 1e-4,
        glaucoma_mean: 1e-4,
        map_max: 1e-4,
        map_mean: 1e-4,
        pixels_differing: 1e-3,
        disc_dice: 0.99,
        cup_dice: 0.99,
        vcdr_difference: 1e-3,
        fovea_shift_share: 1e-3,
        dice_loss: 1e-3,
        fovea_loss_share: 1e-3,
        auc_loss: 1e-3,
    };

    /// For int8: no loss that a reader of the results would notice. A single pixel at the edge of
    /// a disc may change sides, so the largest difference of a map's pixel is not bounded.
    pub const INT8: Self = Self {
        glaucoma_max: 0.1,
        glaucoma_mean: 0.02,
        map_max: 1.0,
        map_mean: 0.01,
        pixels_differing: 0.005,
        disc_dice: 0.97,
        cup_dice: 0.94,
        vcdr_difference: 0.02,
        fovea_shift_share: 0.005,
        dice_loss: 0.01,
        fovea_loss_share: 0.003,
        auc_loss: 0.01,
    };

    /// The bounds that a file of this precision must keep.
    #[must_use]
    pub fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Int8Qdq => Self::INT8,
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The file does not run.
    #[error("certify: {0}")]
    Engine(#[from] EngineError),
    /// The trained network does not run.
    #[error("certify: the trainer's own network: {0}")]
    Trainer(String),
    /// No photographs to certify on.
    #[error("certify: no photographs to compare on")]
    NoPhotographs,
    /// The file says something else than the trained network.
    #[error("certify: the written file is too far from the trained network:\n  {}", .0.join("\n  "))]
    OutOfBounds(Vec<String>),
}

/// What a file is compared with: the trainer's own network in evaluation mode.
pub type Trainer<'a> = dyn Fn(&RgbImage) -> Result<NetworkOutput, String> + 'a;

/// What is to be certified, and how.
pub struct Certification<'a> {
    /// The model's thresholds.
    pub decoding: Decoding,
    /// Factor on the photographs' bytes, as in the input contract.
    pub scale: f32,
    /// Photographs, with truth where there is any.
    pub cases: &'a [Case<'a>],
    /// Says which photographs these are, for the certificate.
    pub measured_on: &'a str,
    /// What must be kept.
    pub bounds: Bounds,
}

/// Runs the file `bytes` and the trainer's network side by side.
///
/// Returns the certificate `trainer parity`, and `labelled data` where at least one case has truth.
///
/// # Errors
/// A file or network that does not run, no photographs, or a figure outside the bounds; then all
/// that are outside are named.
pub fn certify(
    bytes: &[u8],
    trainer: &Trainer<'_>,
    certification: &Certification<'_>,
) -> Result<Vec<Certificate>, CertifyError> {
    if certification.cases.is_empty() {
        return Err(CertifyError::NoPhotographs);
    }
    let engine = Engine::load(bytes)?;
    let mut agreement = Agreement::new(certification.decoding);
    let mut trained = Quality::new(certification.decoding);
    let mut written = Quality::new(certification.decoding);
    for case in certification.cases {
        let expected = trainer(case.photograph).map_err(CertifyError::Trainer)?;
        let found = engine.run(case.photograph, certification.scale)?;
        if case.class_only {
            agreement.add_class(&expected, &found);
        } else {
            agreement.add(&expected, &found);
        }
        trained.add(case, &expected);
        written.add(case, &found);
    }
    let figures = agreement.figures();
    let changes = changes(&trained, &written);
    let mut outside = outside_agreement(&figures, &certification.bounds, engine.side());
    outside.extend(outside_quality(&changes, &certification.bounds, engine.side()));
    if !outside.is_empty() {
        return Err(CertifyError::OutOfBounds(outside));
    }
    let certificate = |name: &str, values| Certificate {
        name: name.into(),
        measured_on: certification.measured_on.into(),
        n: agreement.photographs(),
        values,
    };
    let mut certificates = vec![certificate("trainer parity", figures)];
    if !changes.is_empty() {
        certificates.push(certificate("labelled data", changes));
    }
    Ok(certificates)
}

/// Each figure of the file (`<name>`), its change from the trained network's (`<name>.change`),
/// and on how many photographs it stands (`<name>.n`).
fn changes(trained: &Quality, written: &Quality) -> BTreeMap<String, f64> {
    let counts = written.counts();
    let before = trained.figures();
    let mut values = BTreeMap::new();
    for (name, after) in written.figures() {
        let change = after - before.get(&name).copied().unwrap_or(f64::NAN);
        values.insert(format!("{name}.change"), change);
        values.insert(format!("{name}.n"), counts.get(&name).copied().unwrap_or(0) as f64);
        values.insert(name, after);
    }
    values
}

/// A limit on a figure, and the sentence for one that breaks it. NaN breaks every limit.
fn check(
    values: &BTreeMap<String, f64>,
    name: &str,
    fits: impl Fn(f64) -> bool,
    limit: String,
) -> Option<String> {
    let value = values.get(name).copied()?;
    (!fits(value)).then(|| format!("{name} is {value:.3e}, must be {limit}"))
}

fn at_most(values: &BTreeMap<String, f64>, name: &str, limit: f64) -> Option<String> {
    check(values, name, |value| value <= limit, format!("at most {limit}"))
}

fn at_least(values: &BTreeMap<String, f64>, name: &str, limit: f64) -> Option<String> {
    check(values, name, |value| value >= limit, format!("at least {limit}"))
}

fn outside_agreement(figures: &BTreeMap<String, f64>, bounds: &Bounds, side: u32) -> Vec<String> {
    let mut outside = vec![
        at_most(figures, "glaucoma.max", bounds.glaucoma_max),
        at_most(figures, "glaucoma.mean", bounds.glaucoma_mean),
        at_least(figures, "disc.dice_mean", bounds.disc_dice),
        at_least(figures, "cup.dice_mean", bounds.cup_dice),
        at_most(figures, "vcdr.difference_mean", bounds.vcdr_difference),
        at_most(figures, "fovea.shift_px_mean", bounds.fovea_shift_share * f64::from(side)),
    ];
    for map in ["disc", "cup", "fovea"] {
        outside.push(at_most(figures, &format!("{map}.max"), bounds.map_max));
        outside.push(at_most(figures, &format!("{map}.mean"), bounds.map_mean));
        let pixels = format!("{map}.pixels_differing");
        outside.push(at_most(figures, &pixels, bounds.pixels_differing));
    }
    outside.into_iter().flatten().collect()
}

fn outside_quality(changes: &BTreeMap<String, f64>, bounds: &Bounds, side: u32) -> Vec<String> {
    let fovea = bounds.fovea_loss_share * f64::from(side);
    [
        at_least(changes, "disc_dice.change", -bounds.dice_loss),
        at_least(changes, "cup_dice.change", -bounds.dice_loss),
        at_most(changes, "fovea_error_px.change", fovea),
        at_least(changes, "classifier_auc.change", -bounds.auc_loss),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::fold::fold;
    use crate::export::onnx::{Graph, encode};
    use crate::export::testing::{photograph, random_network, reference};
    use glaucoma_common::mask::Mask;

    const SIDE: u32 = 32;

    fn certification<'a>(cases: &'a [Case<'a>]) -> Certification<'a> {
        Certification {
            decoding: Decoding::default(),
            scale: 1.0 / 255.0,
            cases,
            measured_on: "synthetic pictures",
            bounds: Bounds::F32,
        }
    }

    fn file(tensors: &BTreeMap<String, candle_core::Tensor>) -> Vec<u8> {
        let network = fold(tensors).unwrap();
        encode(
            &Graph { network: &network, side: SIDE, quantization: None, extra_outputs: &[] },
            &[],
        )
    }

    #[test]
    fn labelled_photographs_are_scored_in_both() {
        let tensors = random_network(4, 21);
        let photographs: Vec<_> = (0..4).map(|seed| photograph(SIDE, seed)).collect();
        let disc = Mask::from_fn(SIDE, SIDE, |x, y| x < 16 && y > 4);
        let labelled = |(index, photograph)| Case {
            glaucoma: Some(index % 2 == 0),
            disc: Some(&disc),
            ..Case::unlabelled(photograph)
        };
        let cases: Vec<_> = photographs.iter().enumerate().map(labelled).collect();
        let trainer = |photograph: &RgbImage| Ok(reference(&tensors, photograph));
        let certificates = certify(&file(&tensors), &trainer, &certification(&cases)).unwrap();
        let labelled = &certificates[1];
        assert_eq!((labelled.name.as_str(), labelled.n), ("labelled data", 4));
        assert_eq!(labelled.values["disc_dice.n"], 4.0);
        assert!(labelled.values["disc_dice.change"].abs() < 1e-3);
        assert!(labelled.values.contains_key("classifier_auc"));
        assert!(!labelled.values.contains_key("cup_dice"), "nothing is scored without truth");
    }

    #[test]
    fn another_network_nan_and_rubbish_are_refused() {
        let tensors = random_network(4, 21);
        let photograph = photograph(SIDE, 0);
        let cases = [Case::unlabelled(&photograph)];
        let certification = certification(&cases);
        let other = random_network(4, 22);
        let trainer = |photograph: &RgbImage| Ok(reference(&other, photograph));
        let error = certify(&file(&tensors), &trainer, &certification).unwrap_err();
        assert!(matches!(error, CertifyError::OutOfBounds(_)), "{error}");
        let nan = |photograph: &RgbImage| {
            Ok(NetworkOutput { glaucoma: f32::NAN, ..reference(&tensors, photograph) })
        };
        let error = certify(&file(&tensors), &nan, &certification).unwrap_err();
        assert!(error.to_string().contains("glaucoma.max is NaN"), "{error}");
        let empty = |photograph: &RgbImage| {
            Ok(NetworkOutput { disc: vec![], ..reference(&tensors, photograph) })
        };
        let error = certify(&file(&tensors), &empty, &certification).unwrap_err();
        assert!(error.to_string().contains("disc.max is NaN"), "{error}");
        let trainer = |photograph: &RgbImage| Ok(reference(&tensors, photograph));
        let error = certify(b"no model", &trainer, &certification).unwrap_err();
        assert!(matches!(error, CertifyError::Engine(_)), "{error}");
    }
}
