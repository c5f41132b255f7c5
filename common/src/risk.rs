//! From the cup-to-disc ratio and the classifier head to one glaucoma probability.

use serde::{Deserialize, Serialize};

/// Logistic regression of the glaucoma label on the vertical cup-to-disc ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcdrModel {
    /// Log odds at a ratio of 0.
    pub intercept: f64,
    /// Log odds a unit of ratio.
    pub slope: f64,
}

/// Why a [`VcdrModel`] cannot be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RiskError {
    /// As many labels as ratios are needed.
    #[error("fitting the vCDR model: {ratios} ratios but {labels} labels")]
    Lengths {
        /// Number of ratios given.
        ratios: usize,
        /// Number of labels given.
        labels: usize,
    },
    /// A ratio is not a finite number.
    #[error("fitting the vCDR model: ratio {index} is not a finite number")]
    NotFinite {
        /// Position of the ratio.
        index: usize,
    },
    /// Both eyes with and eyes without glaucoma are needed.
    #[error(
        "fitting the vCDR model: {glaucoma} eyes with glaucoma and {normal} without; it needs both"
    )]
    OneClass {
        /// Eyes with glaucoma.
        glaucoma: usize,
        /// Eyes without.
        normal: usize,
    },
    /// Newton's method did not settle.
    #[error("fitting the vCDR model: no convergence after {steps} steps")]
    NoConvergence {
        /// Steps made.
        steps: usize,
    },
}

/// More steps than any convex two-parameter fit has been seen to need.
const MAX_STEPS: usize = 100;
/// Below this Newton decrement (twice the objective's distance from its minimum) the parameters
/// are exact to about ten digits, and rounding gains the upper hand.
const DECREMENT: f64 = 1e-20;
/// Below this Newton decrement full steps are taken without looking at the objective.
const NEAR: f64 = 1e-6;

impl VcdrModel {
    /// Probability of glaucoma at the ratio `vcdr`.
    #[must_use]
    pub fn probability(&self, vcdr: f64) -> f64 {
        sigmoid(self.intercept + self.slope * vcdr)
    }

    /// Fits the model as the paper's reference code does: logistic regression with an L2 penalty
    /// of `slope^2 / 2` beside the sum of the log losses (C = 1) and a free intercept. Equals
    /// scikit-learn's `LogisticRegression()`; found by Newton's method with step halving.
    ///
    /// # Errors
    /// When lengths differ, a ratio is not finite, or only one class is present.
    pub fn fit(vcdr: &[f64], glaucoma: &[bool]) -> Result<Self, RiskError> {
        if vcdr.len() != glaucoma.len() {
            return Err(RiskError::Lengths { ratios: vcdr.len(), labels: glaucoma.len() });
        }
        if let Some(index) = vcdr.iter().position(|ratio| !ratio.is_finite()) {
            return Err(RiskError::NotFinite { index });
        }
        let positive = glaucoma.iter().filter(|&&label| label).count();
        if positive == 0 || positive == glaucoma.len() {
            let normal = glaucoma.len() - positive;
            return Err(RiskError::OneClass { glaucoma: positive, normal });
        }
        let mut model = Self { intercept: 0.0, slope: 0.0 };
        let mut objective = model.objective(vcdr, glaucoma);
        for _ in 0..MAX_STEPS {
            let step = model.newton_step(vcdr, glaucoma);
            let mut share = 1.0;
            let (next, value) = loop {
                let next = Self {
                    intercept: model.intercept + share * step.intercept,
                    slope: model.slope + share * step.slope,
                };
                let value = next.objective(vcdr, glaucoma);
                // This near to the minimum full steps converge, while rounding hides their gain.
                if value <= objective || step.decrement < NEAR {
                    break (next, value);
                }
                share /= 2.0;
            };
            (model, objective) = (next, value);
            if step.decrement < DECREMENT {
                return Ok(model);
            }
        }
        Err(RiskError::NoConvergence { steps: MAX_STEPS })
    }

    fn objective(&self, vcdr: &[f64], glaucoma: &[bool]) -> f64 {
        let loss: f64 = vcdr
            .iter()
            .zip(glaucoma)
            .map(|(&ratio, &label)| {
                let odds = self.intercept + self.slope * ratio;
                let wrong = if label { -odds } else { odds };
                // ln(1 + e^w) without overflow.
                wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()
            })
            .sum();
        loss + self.slope * self.slope / 2.0
    }

    fn newton_step(&self, vcdr: &[f64], glaucoma: &[bool]) -> NewtonStep {
        let (mut g0, mut g1) = (0.0, self.slope);
        // The tiny addition keeps the system solvable where every probability has saturated.
        let (mut h00, mut h01, mut h11) = (1e-12, 0.0, 1.0);
        for (&ratio, &label) in vcdr.iter().zip(glaucoma) {
            let p = self.probability(ratio);
            let error = p - f64::from(u8::from(label));
            let weight = p * (1.0 - p);
            g0 += error;
            g1 += error * ratio;
            h00 += weight;
            h01 += weight * ratio;
            h11 += weight * ratio * ratio;
        }
        let determinant = h00 * h11 - h01 * h01;
        let intercept = (h01 * g1 - h11 * g0) / determinant;
        let slope = (h01 * g0 - h00 * g1) / determinant;
        NewtonStep { intercept, slope, decrement: -(g0 * intercept + g1 * slope) }
    }
}

/// A step towards the minimum.
struct NewtonStep {
    intercept: f64,
    slope: f64,
    /// Newton decrement: twice what the step is expected to lower the objective by.
    decrement: f64,
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// A glaucoma probability and its two parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// Mean of the two parts.
    pub probability: f64,
    /// The classifier head's probability.
    pub classifier: f64,
    /// The probability from the vertical cup-to-disc ratio.
    pub vcdr_model: f64,
}

impl Risk {
    /// How far the two parts lie apart, 0 to 1.
    #[must_use]
    pub fn disagreement(&self) -> f64 {
        (self.classifier - self.vcdr_model).abs()
    }
}

/// The mean of the classifier head's probability and of `model`'s for `vcdr` (paper, section
/// "Glaucoma detection task").
#[must_use]
pub fn fuse(classifier: f64, vcdr: f64, model: &VcdrModel) -> Risk {
    let vcdr_model = model.probability(vcdr);
    Risk { probability: f64::midpoint(classifier, vcdr_model), classifier, vcdr_model }
}

/// Where a fused probability becomes "refer", and what that cost when it was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// Refer at a fused probability `>=` this, 0 to 1.
    pub threshold: f64,
    /// Sensitivity on `chosen_on` at this threshold; absent where it was not measured.
    pub sensitivity: Option<f64>,
    /// Specificity on `chosen_on` at this threshold; absent where it was not measured.
    pub specificity: Option<f64>,
    /// The pictures on which the threshold was chosen, with their number, in words.
    pub chosen_on: String,
}

impl OperatingPoint {
    /// Whether a person with this fused probability is to be referred.
    #[must_use]
    pub fn refers(&self, probability: f64) -> bool {
        probability >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fit_equals_scikit_learn() {
        let bytes = std::fs::read(glaucoma_tests::golden("common/figures.json")).unwrap();
        let figures: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for case in figures["risk"].as_array().unwrap() {
            let vcdr: Vec<f64> = serde_json::from_value(case["vcdr"].clone()).unwrap();
            let labels: Vec<bool> = serde_json::from_value(case["glaucoma"].clone()).unwrap();
            let model = VcdrModel::fit(&vcdr, &labels).unwrap();
            // scikit-learn's solver stops at a small gradient, not at the last digit.
            assert!((model.intercept - case["intercept"].as_f64().unwrap()).abs() < 1e-5);
            assert!((model.slope - case["slope"].as_f64().unwrap()).abs() < 1e-5);
            for probe in case["probabilities"].as_array().unwrap() {
                let expected = probe[1].as_f64().unwrap();
                assert!((model.probability(probe[0].as_f64().unwrap()) - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn fit_refuses_what_has_no_answer() {
        let one_class = VcdrModel::fit(&[0.3, 0.4], &[false, false]);
        assert_eq!(one_class, Err(RiskError::OneClass { glaucoma: 0, normal: 2 }));
        assert_eq!(VcdrModel::fit(&[], &[]), Err(RiskError::OneClass { glaucoma: 0, normal: 0 }));
        let nan = VcdrModel::fit(&[0.3, f64::NAN], &[false, true]);
        assert_eq!(nan, Err(RiskError::NotFinite { index: 1 }));
        let lengths = VcdrModel::fit(&[0.3], &[false, true]);
        assert_eq!(lengths, Err(RiskError::Lengths { ratios: 1, labels: 2 }));
    }

    #[test]
    fn fusion_is_the_mean() {
        let model = VcdrModel { intercept: -6.0, slope: 10.0 };
        let risk = fuse(0.2, 0.6, &model);
        assert_eq!(risk, Risk { probability: 0.35, classifier: 0.2, vcdr_model: 0.5 });
        let point = OperatingPoint {
            threshold: 0.35,
            sensitivity: None,
            specificity: None,
            chosen_on: String::new(),
        };
        assert!(point.refers(risk.probability) && !point.refers(0.349));
    }

    #[test]
    fn probability_stays_one_far_out() {
        let model = VcdrModel { intercept: 0.0, slope: 1e6 };
        assert_eq!((model.probability(-1.0), model.probability(1.0)), (0.0, 1.0));
    }

    proptest! {
        /// At the minimum of a smooth convex function every small step goes up.
        #[test]
        fn fit_is_the_minimum(
            eyes in proptest::collection::vec((0.0..1.0f64, any::<bool>()), 2..60),
        ) {
            let (vcdr, labels): (Vec<f64>, Vec<bool>) = eyes.into_iter().unzip();
            if let Ok(model) = VcdrModel::fit(&vcdr, &labels) {
                let least = model.objective(&vcdr, &labels);
                for (a, b) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
                    let near =
                        VcdrModel { intercept: model.intercept + a, slope: model.slope + b };
                    prop_assert!(near.objective(&vcdr, &labels) > least);
                }
            } else {
                prop_assert!(labels.iter().all(|&label| label == labels[0]));
            }
        }
    }
}
