//! FAMO: equal relative progress, judged by the losses before and after each step (Liu et al. 2023).

use super::maths::{Learnt, PerTask, famo};
use super::one_adam::{Numbers, saved, taken};
use super::weighted::Balance;
use super::{Step, StrategyError};

/// Logits of the tasks' shares, from 0, with an Adam of their own.
///
/// The progress of a step is taken on its own batch: a second forward pass at the new weights, which
/// leaves the running statistics as they were. Tasks without a label keep their logits, and the
/// others share what there is.
pub struct Famo {
    logits: Learnt,
    lr: f64,
    gamma: f64,
}

impl Famo {
    /// Learns at the constant rate `lr` with the decay `gamma` of the logits.
    #[must_use]
    pub fn new(lr: f64, gamma: f64) -> Self {
        Self { logits: Learnt::new(0.0), lr, gamma }
    }
}

impl Balance for Famo {
    fn weights(&mut self, losses: PerTask, _epoch: u64) -> PerTask {
        famo::weights(famo::shares(&self.logits.values, losses), losses)
    }

    fn look_back(&mut self, step: &Step<'_>, losses: PerTask) -> Result<(), StrategyError> {
        let tasks = step.tasks();
        let own = step.without_trace(|| {
            let outputs = step.forward(&tasks)?;
            let mut after = [None; 4];
            for &task in &tasks {
                after[task.index()] = step.loss(task, &outputs)?.map(|loss| loss.value);
            }
            Ok(after)
        })?;
        let after = step.losses_of_all(own)?;
        let mut progress = [None; 4];
        for (k, progress) in progress.iter_mut().enumerate() {
            let fall = |(before, after)| famo::logarithm(before) - famo::logarithm(after);
            *progress = losses[k].zip(after[k]).map(fall);
        }
        let logits = self.logits.values;
        let shares = famo::shares(&logits, losses);
        self.logits.descend(famo::slopes(&logits, shares, progress, self.gamma), self.lr);
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        saved("logits", &self.logits)
    }

    fn take(&mut self, numbers: &Numbers) {
        taken("logits", &mut self.logits, numbers);
    }
}
