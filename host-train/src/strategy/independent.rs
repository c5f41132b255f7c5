//! MTL-IO: each task in turn with an optimiser of its own (Pascal et al. 2022, equation 3).

use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use super::{refuse_strangers, under_prefix, with_prefix};
use crate::adam::{Adam, AdamConfig};
use crate::network::{Task, UNet};

/// Equation 3: for each task k in turn `w <- w - lr * m_k(g_k(w))`, where the gradient is taken at
/// the weights that task k-1 left behind, and the moving averages `m_k` see task k's gradients only.
///
/// Parameters that task k's loss does not reach keep their value in its turn.
pub struct Independent {
    optimisers: Vec<(Task, Adam)>,
}

impl Independent {
    /// Fresh optimisers, one for each head of `net`.
    #[must_use]
    pub fn new(net: &UNet, adam: AdamConfig) -> Self {
        let own = |task: &Task| (*task, Adam::new(net.parameters(), adam));
        Self { optimisers: net.config().tasks.iter().map(own).collect() }
    }
}

impl Strategy for Independent {
    fn name(&self) -> &'static str {
        StrategyName::Independent.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        for task in step.tasks() {
            let Some((_, adam)) = self.optimisers.iter_mut().find(|(own, _)| *own == task) else {
                continue;
            };
            // A fresh pass: the weights have moved since the previous task's.
            let (gradients, loss) = step.one_task_ahead(task)?;
            adam.step(&gradients, step.lr)?;
            report.losses[task.index()] = loss;
            report.weights[task.index()] = Some(1.0);
        }
        step.settle(report)
    }

    fn state(&self) -> Result<State, StrategyError> {
        let mut state = State::new();
        for (task, adam) in &self.optimisers {
            state.extend(with_prefix(task.name(), adam.state()?));
        }
        Ok(state)
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        let names: Vec<_> = self.optimisers.iter().map(|(task, _)| task.name()).collect();
        refuse_strangers(&names, state)?;
        for (task, adam) in &mut self.optimisers {
            adam.restore(&under_prefix(task.name(), state))?;
        }
        Ok(())
    }
}
