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
            let (d_intercept, d_slope) = model.newton_step(vcdr, glaucoma);
            let mut share = 1.0;
            loop {
                let next = Self {
                    intercept: model.intercept + share * d_intercept,
                    slope: model.slope + share * d_slope,
                };
                let value = next.objective(vcdr, glaucoma);
                if value <= objective {
                    (model, objective) = (next, value);
                    break;
                }
                share /= 2.0;
                // So short a step that rounding hides its gain: this is the minimum.
                if share < 1e-9 {
                    return Ok(model);
                }
            }
            if d_intercept.abs().max(d_slope.abs()) < 1e-12 * (1.0 + model.slope.abs()) {
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

    fn newton_step(&self, vcdr: &[f64], glaucoma: &[bool]) -> (f64, f64) {
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
        ((h01 * g1 - h11 * g0) / determinant, (h01 * g0 - h00 * g1) / determinant)
    }
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
