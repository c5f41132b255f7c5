//! Single-task learning: a network with one head, trained alone (the paper's STL baseline).

use super::one_adam::{Numbers, OneAdam};
use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use crate::adam::AdamConfig;
use crate::network::UNet;

/// Plain Adam on the one loss there is.
pub struct Single {
    optimiser: OneAdam,
}

impl Single {
    /// A fresh optimiser for the parameters of `net`.
    ///
    /// # Errors
    /// [`StrategyError::Heads`] for a network with several heads: their common encoder would be
    /// trained by all of them, which is what the baseline must not have.
    pub fn new(net: &UNet, adam: AdamConfig) -> Result<Self, StrategyError> {
        match net.config().tasks.as_slice() {
            [_] => Ok(Self { optimiser: OneAdam::new(StrategyName::Single, net, adam) }),
            several => Err(StrategyError::Heads { found: several.len() }),
        }
    }
}

impl Strategy for Single {
    fn name(&self) -> &'static str {
        self.optimiser.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        if let Some(task) = step.tasks().first() {
            let (gradients, loss) = step.one_task(*task)?;
            self.optimiser.step(&gradients, step.lr)?;
            report.losses[task.index()] = loss;
            report.weights[task.index()] = Some(1.0);
        }
        Ok(report)
    }

    fn state(&self) -> Result<State, StrategyError> {
        self.optimiser.state(Numbers::new())
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        self.optimiser.restore(state, &Numbers::new()).map(|_| ())
    }
}
