//! The aggregated loss: one step on the sum of the task losses (Pascal et al. 2022, equation 1).

use super::{State, StepReport, Strategy, StrategyError};
use super::{finite_loss, pass_mode, present, refuse_strangers, under_prefix, with_prefix};
use crate::adam::{Adam, AdamConfig};
use crate::dataset::batches::Batch;
use crate::loss::FoveaLoss;
use crate::network::{Task, UNet};
use candle_core::Tensor;

const PREFIX: &str = "all";

/// Equation 1 with unit weights: `w <- w - lr * m(sum_k g_k(w))`, one forward, one Adam.
pub struct Aggregated {
    adam: Adam,
    fovea: FoveaLoss,
}

impl Aggregated {
    /// A fresh optimiser for the parameters of `net`.
    #[must_use]
    pub fn new(net: &UNet, adam: AdamConfig, fovea: FoveaLoss) -> Self {
        Self { adam: Adam::new(net.parameters(), adam), fovea }
    }
}

impl Strategy for Aggregated {
    fn name(&self) -> &'static str {
        "aggregated"
    }

    fn step(
        &mut self,
        net: &UNet,
        batch: &Batch,
        lr: f64,
        dropout_seed: u64,
    ) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        let tasks = present(net, batch);
        if tasks.is_empty() {
            return Ok(report);
        }
        let mode = pass_mode(dropout_seed, Task::Glaucoma);
        let outputs = net.forward(&batch.images, &tasks, mode)?;
        let mut total: Option<Tensor> = None;
        for task in tasks {
            let (loss, value) = finite_loss(task, self.fovea, &outputs, batch)?;
            report.losses[task.index()] = Some(value);
            total = Some(match total {
                Some(sum) => (sum + loss)?,
                None => loss,
            });
        }
        if let Some(total) = total {
            self.adam.step(&total.backward()?, lr)?;
        }
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
