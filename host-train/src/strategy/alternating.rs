//! Alternation: each task in turn, one optimiser for all (Pascal et al. 2022, equation 2).

use super::one_adam::{Numbers, OneAdam};
use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use crate::adam::AdamConfig;
use crate::network::UNet;

/// Equation 2 with Adam: for each task k in turn `w <- w - lr * m(g_k(w))`, where the gradient is taken
/// at the weights that task k-1 left behind, and the moving averages `m` see all tasks' gradients.
pub struct Alternating {
    optimiser: OneAdam,
}

impl Alternating {
    /// A fresh optimiser for the parameters of `net`.
    #[must_use]
    pub fn new(net: &UNet, adam: AdamConfig) -> Self {
        Self { optimiser: OneAdam::new(StrategyName::Alternating, net, adam) }
    }
}

impl Strategy for Alternating {
    fn name(&self) -> &'static str {
        self.optimiser.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        for task in step.tasks() {
            let (gradients, loss) = step.one_task(task)?;
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
