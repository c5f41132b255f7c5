//! Dynamic weight average: a task whose loss falls more slowly weighs more (Liu et al. 2019).

use super::maths::{PerTask, dwa};
use super::one_adam::{Numbers, put, take};
use super::weighted::Balance;

/// The mean losses of the two epochs before, from which the weights of the current one follow.
///
/// Weights are 1 until two epochs are known. A task without a label in a whole epoch keeps the means
/// it had; one that is not known for two epochs yet counts as standing still.
pub struct Dwa {
    temperature: f64,
    epoch: u64,
    sums: [f64; 4],
    counts: [f64; 4],
    /// Mean losses of the last epoch; 0 where not known.
    last: [f64; 4],
    /// Mean losses of the one before; 0 where not known.
    before: [f64; 4],
}

impl Dwa {
    /// With the softmax' `temperature`.
    #[must_use]
    pub fn new(temperature: f64) -> Self {
        let none = [0.0; 4];
        Self { temperature, epoch: 0, sums: none, counts: none, last: none, before: none }
    }

    fn close_epoch(&mut self) {
        for k in 0..4 {
            if self.counts[k] > 0.0 {
                self.before[k] = self.last[k];
                self.last[k] = self.sums[k] / self.counts[k];
            }
        }
        (self.sums, self.counts) = ([0.0; 4], [0.0; 4]);
    }
}

impl Balance for Dwa {
    fn weights(&mut self, losses: PerTask, epoch: u64) -> PerTask {
        if epoch != self.epoch {
            self.close_epoch();
            self.epoch = epoch;
        }
        let mut ratios = [None; 4];
        for (k, loss) in losses.into_iter().enumerate() {
            let Some(loss) = loss else { continue };
            self.sums[k] += loss;
            self.counts[k] += 1.0;
            let known = self.last[k] > 0.0 && self.before[k] > 0.0;
            ratios[k] = Some(if known { self.last[k] / self.before[k] } else { 1.0 });
        }
        dwa::weights(ratios, self.temperature)
    }

    fn numbers(&self) -> Numbers {
        let mut numbers = Numbers::new();
        put(&mut numbers, "epoch", &[self.epoch as f64]);
        put(&mut numbers, "sums", &self.sums);
        put(&mut numbers, "counts", &self.counts);
        put(&mut numbers, "last", &self.last);
        put(&mut numbers, "before", &self.before);
        numbers
    }

    fn take(&mut self, numbers: &Numbers) {
        let mut epoch = [0.0];
        take(numbers, "epoch", &mut epoch);
        self.epoch = epoch[0] as u64;
        take(numbers, "sums", &mut self.sums);
        take(numbers, "counts", &mut self.counts);
        take(numbers, "last", &mut self.last);
        take(numbers, "before", &mut self.before);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// By hand: epoch means 1.0 then 0.5 for the first task, 2.0 then 2.0 for the second, so the
    /// ratios of the third epoch are 0.5 and 1.
    #[test]
    fn weights_follow_the_means_of_the_two_epochs_before() {
        let mut dwa = Dwa::new(2.0);
        let both = |a, b| [Some(a), Some(b), None, None];
        for (epoch, losses) in [(0, both(1.5, 2.0)), (0, both(0.5, 2.0)), (1, both(0.5, 2.0))] {
            assert_eq!(dwa.weights(losses, epoch), both(1.0, 1.0));
        }
        let found = dwa.weights(both(7.0, 7.0), 2);
        let raised = [0.25f64.exp(), 0.5f64.exp()];
        let sum: f64 = raised.iter().sum();
        assert!((found[0].unwrap() - 2.0 * raised[0] / sum).abs() < 1e-12);
        assert!((found[1].unwrap() - 2.0 * raised[1] / sum).abs() < 1e-12);
        assert_eq!(found[2], None);
    }
}
