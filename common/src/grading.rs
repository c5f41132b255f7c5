//! From a reading to a probability of glaucoma, or to the reasons why none may be given. Trainer and
//! device ask here, so that what is measured is what will be shown.

use crate::manifest::Manifest;
use crate::quality::Reason;
use crate::reading::Reading;
use crate::risk::{Risk, fuse};

/// What may be said of an eye.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grade {
    /// The probability of glaucoma and its two parts.
    pub risk: Risk,
    /// Vertical cup-to-disc ratio.
    pub vcdr: f64,
}

/// The grade where the reading is whole, agrees with anatomy, and its two probabilities lie within
/// the model's bound of each other.
///
/// # Errors
/// The reasons for an abstention, most important first.
pub fn grade(reading: &Reading, manifest: &Manifest) -> Result<Grade, Vec<Reason>> {
    let mut reasons = Vec::new();
    if reading.disc.is_none() {
        reasons.push(Reason::DiscNotFound);
    } else if reading.cup.is_none() {
        reasons.push(Reason::CupNotFound);
    }
    reasons.extend(reading.inconsistencies.iter().cloned().map(Reason::Inconsistent));
    match (reading.classifier_probability, reading.vcdr) {
        (Some(classifier), Some(vcdr)) if reasons.is_empty() => {
            let risk = fuse(classifier, vcdr, &manifest.vcdr_model);
            let bound = manifest.max_head_disagreement.unwrap_or(1.0);
            if risk.disagreement() > bound {
                let Risk { classifier, vcdr_model, .. } = risk;
                return Err(vec![Reason::HeadsDisagree { classifier, vcdr_model }]);
            }
            Ok(Grade { risk, vcdr })
        }
        _ => Err(reasons),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::example;
    use crate::mask::Mask;
    use crate::preprocess::NativePoint;
    use crate::reading::{Inconsistency, Region};

    fn reading(classifier: f64, vcdr: f64) -> Reading {
        let center = NativePoint { x: 1.0, y: 1.0 };
        let region = || Region {
            mask: Mask::new(2, 2),
            center,
            width: 1.0,
            height: 1.0,
            outline: Vec::new(),
        };
        Reading {
            classifier_probability: Some(classifier),
            disc: Some(region()),
            cup: Some(region()),
            vcdr: Some(vcdr),
            fovea: None,
            laterality: None,
            inconsistencies: Vec::new(),
        }
    }

    #[test]
    fn heads_that_disagree_give_no_probability() {
        let bounded = |bound| Manifest { max_head_disagreement: bound, ..example() };
        // -5.25 + 8.5 * 0.9 gives 0.917.
        let apart = reading(0.2, 0.9);
        let free = grade(&apart, &bounded(None));
        assert!(free.as_ref().is_ok_and(|grade| (grade.risk.disagreement() - 0.717).abs() < 1e-3));
        assert_eq!(grade(&apart, &bounded(Some(0.72))), free);
        let reasons = grade(&apart, &bounded(Some(0.7))).err().unwrap_or_default();
        assert!(
            matches!(reasons[..], [Reason::HeadsDisagree { classifier: 0.2, .. }]),
            "{reasons:?}"
        );
    }

    #[test]
    fn what_is_missing_or_inconsistent_comes_first() {
        let manifest = Manifest { max_head_disagreement: Some(0.0), ..example() };
        let without_cup = Reading { cup: None, vcdr: None, ..reading(0.2, 0.9) };
        assert_eq!(grade(&without_cup, &manifest), Err(vec![Reason::CupNotFound]));
        let several = Inconsistency::SeveralDiscs { count: 2 };
        let blind = Reading {
            disc: None,
            vcdr: None,
            inconsistencies: vec![several.clone()],
            ..reading(0.2, 0.9)
        };
        let expected = vec![Reason::DiscNotFound, Reason::Inconsistent(several)];
        assert_eq!(grade(&blind, &manifest), Err(expected));
    }
}
