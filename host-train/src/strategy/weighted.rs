//! One step on a weighted sum of the losses, whose weights a method learns from the losses: uncertainty
//! weighting, dynamic weight average, FAMO.

use super::maths::PerTask;
use super::one_adam::{Numbers, OneAdam};
use super::{State, Step, StepReport, Strategy, StrategyError, StrategyName};
use crate::adam::AdamConfig;
use crate::network::UNet;
use candle_core::Tensor;

/// How losses become weights.
pub trait Balance {
    /// The weights of the tasks with a loss, before the step. `losses` are those over the labelled
    /// images of all processes, `epoch` counts from 0.
    fn weights(&mut self, losses: PerTask, epoch: u64) -> PerTask;

    /// Looks back at the step that was made on `losses` with the weights that [`Balance::weights`]
    /// gave.
    ///
    /// # Errors
    /// Failures of a pass.
    fn look_back(&mut self, _step: &Step<'_>, _losses: PerTask) -> Result<(), StrategyError> {
        Ok(())
    }

    /// Everything that later weights depend on.
    fn numbers(&self) -> Numbers;

    /// Takes over numbers of the same names and counts.
    fn take(&mut self, numbers: &Numbers);
}

/// `w <- w - lr * m(grad sum_k c_k L_k(w))`: one forward, one backward, one Adam. The weights reach
/// all parameters, heads too, as the gradient of a weighted loss does.
pub struct Weighted<B> {
    balance: B,
    optimiser: OneAdam,
}

impl<B: Balance> Weighted<B> {
    /// A fresh optimiser for the parameters of `net`.
    #[must_use]
    pub fn new(name: StrategyName, net: &UNet, adam: AdamConfig, balance: B) -> Self {
        Self { balance, optimiser: OneAdam::new(name, net, adam) }
    }
}

impl<B: Balance> Strategy for Weighted<B> {
    fn name(&self) -> &'static str {
        self.optimiser.name()
    }

    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError> {
        let mut report = StepReport::default();
        let tasks = step.tasks();
        if tasks.is_empty() {
            return Ok(report);
        }
        let outputs = step.forward(&tasks)?;
        let mut on_tape = Vec::with_capacity(tasks.len());
        for &task in &tasks {
            let Some(loss) = step.loss(task, &outputs)? else { continue };
            report.losses[task.index()] = Some(loss.value);
            on_tape.push((task, loss.on_tape));
        }
        let losses = step.losses_of_all(report.losses)?;
        report.weights = self.balance.weights(losses, step.epoch);
        let mut total: Option<Tensor> = None;
        for (task, loss) in on_tape {
            let weighted = (loss * report.weights[task.index()].unwrap_or(0.0))?;
            total = Some(match total {
                Some(sum) => (sum + weighted)?,
                None => weighted,
            });
        }
        let gradients = step.gradients(&outputs, total.as_ref())?;
        drop(outputs);
        self.optimiser.step(&gradients, step.lr)?;
        self.balance.look_back(step, losses)?;
        Ok(report)
    }

    fn state(&self) -> Result<State, StrategyError> {
        self.optimiser.state(self.balance.numbers())
    }

    fn restore(&mut self, state: &State) -> Result<(), StrategyError> {
        let numbers = self.optimiser.restore(state, &self.balance.numbers())?;
        self.balance.take(&numbers);
        Ok(())
    }
}
