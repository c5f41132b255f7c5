//! The aggregated loss: one step on the sum of the task losses (Pascal et al. 2022, equation 1).

use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use super::{refuse_strangers, under_prefix, with_prefix};
use crate::adam::{Adam, AdamConfig};
use crate::network::UNet;
use candle_core::Tensor;

const PREFIX: &str = "all";

/// Equation 1 with unit weights: `w <- w - lr * m(sum_k g_k(w))`, one forward, one Adam.
pub struct Aggregated {
    adam: Adam,
}

impl Aggregated {
    /// A fresh optimiser for the parameters of `net`.
    #[must_use]
    pub fn new(net: &UNet, adam: AdamConfig) -> Self {
        Self { adam: Adam::new(net.parameters(), adam) }
    }
}

impl Strategy for Aggregated {
    fn name(&self) -> &'static str {
        StrategyName::Aggregated.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        let tasks = step.tasks();
        if tasks.is_empty() {
            return Ok(report);
        }
        let outputs = step.forward(&tasks)?;
        let mut total: Option<Tensor> = None;
        for task in tasks {
            report.weights[task.index()] = Some(1.0);
            let Some(loss) = step.loss(task, &outputs)? else { continue };
            report.losses[task.index()] = Some(loss.value);
            total = Some(match total {
                Some(sum) => (sum + loss.on_tape)?,
                None => loss.on_tape,
            });
        }
        self.adam.step(&step.gradients(&outputs, total.as_ref())?, step.lr)?;
        Ok(report)
    }

    fn state(&self) -> Result<State, StrategyError> {
        Ok(with_prefix(PREFIX, self.adam.state()?).collect())
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        refuse_strangers(&[PREFIX], state)?;
        Ok(self.adam.restore(&under_prefix(PREFIX, state))?)
    }
}
