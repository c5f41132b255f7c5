//! Uncertainty weighting: log-variances learnt with the network (Kendall et al. 2018).

use super::maths::{Learnt, PerTask, uncertainty};
use super::one_adam::{Numbers, saved, taken};
use super::weighted::Balance;

/// A log-variance for each task, from 0 (weight 1), with an Adam of its own.
pub struct Uncertainty {
    log_variances: Learnt,
    lr: f64,
}

impl Uncertainty {
    /// Learns at the constant rate `lr`.
    #[must_use]
    pub fn new(lr: f64) -> Self {
        Self { log_variances: Learnt::new(0.0), lr }
    }
}

impl Balance for Uncertainty {
    fn weights(&mut self, losses: PerTask, _epoch: u64) -> PerTask {
        let s = self.log_variances.values;
        let (mut weights, mut slopes) = ([None; 4], [None; 4]);
        for (k, loss) in losses.into_iter().enumerate() {
            weights[k] = loss.map(|_| uncertainty::weight(s[k]));
            slopes[k] = loss.map(|loss| uncertainty::slope(s[k], loss));
        }
        self.log_variances.descend(slopes, self.lr);
        weights
    }

    fn numbers(&self) -> Numbers {
        saved("log_variances", &self.log_variances)
    }

    fn take(&mut self, numbers: &Numbers) {
        taken("log_variances", &mut self.log_variances, numbers);
    }
}
