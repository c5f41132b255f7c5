//! Whether a written file may become a bundle: it must say what the trained network says.
//!
//! The file's bytes are run in the device's engine, over photographs that took no part in
//! calibration, beside the trainer's own network in evaluation mode. Outside the [`Bounds`] there
//! is no bundle.

use super::agreement::Agreement;
use super::bounds::Bounds;
use super::engine::{Engine, EngineError};
use super::quality::{Case, Quality};
use glaucoma_common::manifest::{Certificate, Manifest};
use glaucoma_common::reading::NetworkOutput;
use image::RgbImage;
use std::collections::BTreeMap;

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
    /// What the bundle says of itself: scale, thresholds, coefficients.
    pub manifest: &'a Manifest,
    /// Photographs, with truth where there is any.
    pub cases: &'a [Case<'a>],
    /// What the trained network says of each.
    pub trained: &'a [NetworkOutput],
    /// Says which photographs these are, for the certificate.
    pub measured_on: &'a str,
    /// What must be kept.
    pub bounds: Bounds,
}

/// What the trained network says of each of `cases`, to certify any number of files by.
///
/// # Errors
/// A network that does not run, or no photographs.
pub fn ask(trainer: &Trainer<'_>, cases: &[Case<'_>]) -> Result<Vec<NetworkOutput>, CertifyError> {
    if cases.is_empty() {
        return Err(CertifyError::NoPhotographs);
    }
    let answer = |case: &Case<'_>| trainer(&case.example.pixels).map_err(CertifyError::Trainer);
    cases.iter().map(answer).collect()
}

/// Runs the file `bytes` beside what the trained network said.
///
/// Returns the certificates `trainer parity`; `labelled data` where at least one case has truth; and
/// `decisions` where whole photographs were asked.
///
/// # Errors
/// A file that does not run, or figures outside the bounds: all of them are named.
pub fn certify(
    bytes: &[u8],
    certification: &Certification<'_>,
) -> Result<Vec<Certificate>, CertifyError> {
    let Certification { manifest, cases, trained, measured_on, bounds } = *certification;
    let engine = Engine::load(bytes)?;
    let mut agreement = Agreement::new(manifest.decoding);
    let mut quality = Quality::new(manifest);
    for (case, trained) in cases.iter().zip(trained) {
        let written = engine.run(&case.example.pixels, manifest.input.scale)?;
        if case.class_only {
            agreement.add_class(trained, &written);
        } else {
            agreement.add(trained, &written);
        }
        quality.add(case, trained, &written);
    }
    let (parity, labelled) = (agreement.figures(), quality.figures());
    let decisions = quality.decisions();
    let mut outside = bounds.outside_agreement(&parity, engine.side());
    outside.extend(bounds.outside_quality(&labelled, engine.side()));
    outside.extend(bounds.outside_decisions(&decisions));
    if !outside.is_empty() {
        return Err(CertifyError::OutOfBounds(outside));
    }
    let certificates =
        [("trainer parity", parity), ("labelled data", labelled), ("decisions", decisions)];
    let certificate = |(name, values): (&str, BTreeMap<String, f64>)| Certificate {
        name: name.into(),
        measured_on: measured_on.into(),
        // Decisions are made on whole photographs alone.
        n: values.get("n").map_or_else(|| agreement.photographs(), |n| *n as u64),
        values,
    };
    Ok(certificates.into_iter().filter(|(_, values)| !values.is_empty()).map(certificate).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dataset::example::Example;
    use crate::export::fold::fold;
    use crate::export::onnx::{Graph, Numbers, encode};
    use crate::export::testing::{example, manifest, random_network, reference};
    use glaucoma_common::manifest::Precision;
    use glaucoma_common::mask::Mask;

    const SIDE: u32 = 32;

    /// The f32 file of `tensors` beside `trainer`.
    fn certify_f32(
        tensors: &BTreeMap<String, candle_core::Tensor>,
        examples: &[Example],
        trainer: &Trainer<'_>,
    ) -> Result<Vec<Certificate>, CertifyError> {
        let network = fold(tensors).unwrap();
        let graph =
            Graph { network: &network, side: SIDE, numbers: Numbers::F32, extra_outputs: &[] };
        let bytes = encode(&graph, &[]);
        let cases: Vec<_> =
            examples.iter().map(|example| Case { example, class_only: false }).collect();
        let certification = Certification {
            manifest: &manifest(SIDE, Precision::F32),
            cases: &cases,
            trained: &ask(trainer, &cases)?,
            measured_on: "synthetic pictures",
            bounds: Bounds::F32,
        };
        certify(&bytes, &certification)
    }

    #[test]
    fn labelled_photographs_are_scored_in_both() {
        let tensors = random_network(4, 21);
        let disc = Mask::from_fn(SIDE, SIDE, |x, y| x < 16 && y > 4);
        let labelled = |index: u64| Example {
            glaucoma: Some(index.is_multiple_of(2)),
            disc: Some(disc.clone()),
            ..example(SIDE, index)
        };
        let examples: Vec<_> = (0..4).map(labelled).collect();
        let trainer = |photograph: &RgbImage| Ok(reference(&tensors, photograph));
        let certificates = certify_f32(&tensors, &examples, &trainer).unwrap();
        let names: Vec<&str> = certificates.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["trainer parity", "labelled data", "decisions"]);
        let labelled = &certificates[1];
        assert_eq!((labelled.n, labelled.values["disc_dice.n"]), (4, 4.0));
        assert!(labelled.values["disc_dice.change"].abs() < 1e-3);
        assert!(labelled.values.contains_key("classifier_auc"));
        assert!(!labelled.values.contains_key("cup_dice"), "nothing is scored without truth");
        assert_eq!((certificates[2].n, certificates[2].values["flipped"]), (4, 0.0));
    }

    #[test]
    fn another_network_nan_and_rubbish_are_refused() {
        let tensors = random_network(4, 21);
        let examples = [example(SIDE, 0)];
        let refused =
            |trainer: &Trainer<'_>| certify_f32(&tensors, &examples, trainer).unwrap_err();
        let other = random_network(4, 22);
        let error = refused(&|photograph| Ok(reference(&other, photograph)));
        assert!(matches!(error, CertifyError::OutOfBounds(_)), "{error}");
        let error = refused(&|photograph| {
            Ok(NetworkOutput { glaucoma: f32::NAN, ..reference(&tensors, photograph) })
        });
        assert!(error.to_string().contains("glaucoma.max is NaN"), "{error}");
        let error = refused(&|photograph| {
            Ok(NetworkOutput { disc: vec![], ..reference(&tensors, photograph) })
        });
        assert!(error.to_string().contains("disc.max is NaN"), "{error}");
        let error = refused(&|_| Err("no memory".into()));
        assert!(matches!(error, CertifyError::Trainer(_)), "{error}");
        let certification = Certification {
            manifest: &manifest(SIDE, Precision::F32),
            cases: &[],
            trained: &[],
            measured_on: "",
            bounds: Bounds::F32,
        };
        let error = certify(b"no model", &certification).unwrap_err();
        assert!(matches!(error, CertifyError::Engine(_)), "{error}");
    }
}
