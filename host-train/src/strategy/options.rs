//! The constants of the balancing methods. Each default is its paper's.

use crate::network::Task;
use serde::{Deserialize, Serialize};

/// The table `[balance]` of a configuration. A strategy reads its own constants and no others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// GradNorm: strength with which slower tasks are pulled up, at least 0 (Chen et al. 2018:
    /// 1.5 for NYUv2).
    pub gradnorm_alpha: f64,
    /// GradNorm: learning rate of the weights (Chen et al. 2018: 0.025).
    pub gradnorm_lr: f64,
    /// Uncertainty weighting: learning rate of the log-variances (Kendall et al. 2018: 2.5e-3,
    /// there of all parameters).
    pub uncertainty_lr: f64,
    /// Dynamic weight average: temperature of the softmax (Liu et al. 2019: 2).
    pub dwa_temperature: f64,
    /// MGDA: compare directions instead of gradients, so that the shortest gradient does not take
    /// all the weight (Sener & Koltun 2018 compare gradients).
    pub mgda_of_directions: bool,
    /// CAGrad: radius of the ball in lengths of the mean gradient, in [0, 1) (Liu et al. 2021:
    /// 0.4 for NYUv2).
    pub cagrad_c: f64,
    /// FAMO: learning rate of the logits (Liu et al. 2023, published code: 0.025).
    pub famo_lr: f64,
    /// FAMO: decay of the logits, at least 0 (Liu et al. 2023, published run on CelebA: 0.01).
    pub famo_gamma: f64,
    /// Random grouping: number of groups, 1 to 4.
    pub groups: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gradnorm_alpha: 1.5,
            gradnorm_lr: 0.025,
            uncertainty_lr: 2.5e-3,
            dwa_temperature: 2.0,
            mgda_of_directions: false,
            cagrad_c: 0.4,
            famo_lr: 0.025,
            famo_gamma: 0.01,
            groups: 2,
        }
    }
}

/// A constant out of its range.
#[derive(Debug, thiserror::Error)]
#[error("balance.{key} must be {range}")]
pub struct OptionsError {
    key: &'static str,
    range: &'static str,
}

impl Options {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// [`OptionsError`] naming the key.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let checks = [
            ("gradnorm_alpha", not_negative(self.gradnorm_alpha), "at least 0"),
            ("gradnorm_lr", positive(self.gradnorm_lr), "above 0"),
            ("uncertainty_lr", positive(self.uncertainty_lr), "above 0"),
            ("dwa_temperature", positive(self.dwa_temperature), "above 0"),
            ("cagrad_c", (0.0..1.0).contains(&self.cagrad_c), "in [0, 1)"),
            ("famo_lr", positive(self.famo_lr), "above 0"),
            ("famo_gamma", not_negative(self.famo_gamma), "at least 0"),
            ("groups", (1..=Task::ALL.len()).contains(&self.groups), "1 to 4"),
        ];
        match checks.into_iter().find(|(_, good, _)| !good) {
            Some((key, _, range)) => Err(OptionsError { key, range }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        Options::default().validate().unwrap();
        let cases = [
            ("cagrad_c = 1.0", "cagrad_c"),
            ("gradnorm_lr = 0.0", "gradnorm_lr"),
            ("dwa_temperature = nan", "dwa_temperature"),
            ("groups = 5", "groups"),
            ("famo_gamma = -1.0", "famo_gamma"),
        ];
        for (text, key) in cases {
            let error = toml::from_str::<Options>(text).unwrap().validate().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        assert!(toml::from_str::<Options>("cagrad = 0.4").is_err());
    }
}
