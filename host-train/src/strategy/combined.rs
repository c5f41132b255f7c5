//! One step on a combination of the tasks' gradients, whose weights a method takes from their inner
//! products: PCGrad, MGDA, CAGrad, IMTL-G, Nash-MTL, Aligned-MTL.

use super::maths::Gram;
use super::one_adam::{Numbers, OneAdam};
use super::task_gradients::TaskGradients;
use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use crate::adam::AdamConfig;
use crate::network::UNet;

/// The weights of the tasks from the inner products of their gradients (see [`super::maths`]) and
/// the step's seed.
pub type Rule = Box<dyn Fn(&Gram, u64) -> Vec<f64>>;

/// All tasks' gradients at the same weights; on what they share (see [`TaskGradients`]) one combined
/// gradient, elsewhere each its own; one Adam. A task that shares nothing with another (alone in its step,
/// or the classifier while the encoder is frozen) takes a plain step and has no say in the rest.
pub struct Combined {
    rule: Rule,
    optimiser: OneAdam,
}

impl Combined {
    /// A fresh optimiser for the parameters of `net`.
    #[must_use]
    pub fn new(name: StrategyName, net: &UNet, adam: AdamConfig, rule: Rule) -> Self {
        Self { rule, optimiser: OneAdam::new(name, net, adam) }
    }
}

impl Strategy for Combined {
    fn name(&self) -> &'static str {
        self.optimiser.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        if step.tasks().is_empty() {
            return Ok(StepReport::default());
        }
        let found = TaskGradients::take(step)?;
        let mut weights = vec![1.0; found.tasks.len()];
        let sharing = found.sharing();
        if !sharing.is_empty() {
            let chosen = (self.rule)(&found.gram()?.part(&sharing), step.seed);
            sharing.iter().zip(chosen).for_each(|(&task, weight)| weights[task] = weight);
        }
        self.optimiser.step(&found.combine(&weights)?, step.lr)?;
        Ok(StepReport { losses: found.losses, weights: found.in_place(&weights) })
    }

    fn state(&self) -> Result<State, StrategyError> {
        self.optimiser.state(Numbers::new())
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        self.optimiser.restore(state, &Numbers::new()).map(|_| ())
    }
}
