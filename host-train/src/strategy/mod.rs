//! Multi-task strategies: how the losses of one batch become steps of the weights. One file each.
//!
//! A strategy owns its optimisers and what it has learnt of the tasks; network, batch and learning
//! rate are handed in as a [`Step`]. To add one: implement [`Strategy`] in a file of its own, give it a
//! [`StrategyName`] and a line in [`build`].

pub mod aggregated;
#[cfg(test)]
mod golden;
pub mod independent;
pub mod step;

use crate::adam::{AdamConfig, AdamError};
use crate::loss::LossError;
use crate::network::{NetworkError, Task, UNet};
use crate::parallel::PeersError;
use aggregated::Aggregated;
use candle_core::Tensor;
use independent::Independent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use step::{Loss, Step, StepOptions};

/// The optimiser state of a strategy: every tensor by a name that is unique within the strategy.
pub type State = BTreeMap<String, Tensor>;

/// Turns the losses of a batch into one or several steps of the weights.
///
/// The minimum is the four methods. Two guarantees that the training loop relies on:
/// - **Determinism.** The same network, state, batch, learning rate and seed give the same bits.
/// - **No imputation.** A task without a label in the batch makes no step: neither weights nor
///   moments that only this task would move are touched.
pub trait Strategy {
    /// The name used in configurations and logs.
    fn name(&self) -> &'static str;

    /// One step on a batch.
    ///
    /// # Errors
    /// [`StrategyError::NotFinite`] before the step of the task whose loss is NaN or infinite (the
    /// steps of earlier tasks of this batch have been made); failures of the tensor library.
    fn step(&mut self, step: &Step<'_>) -> Result<StepReport, StrategyError>;

    /// Everything that [`Strategy::restore`] needs to go on as if never interrupted.
    ///
    /// # Errors
    /// Failures of the tensor library.
    fn state(&self) -> Result<State, StrategyError>;

    /// Takes over a state that [`Strategy::state`] of the same strategy and network gave.
    ///
    /// # Errors
    /// A state of another strategy or network.
    fn restore(&mut self, state: &State) -> Result<(), StrategyError>;
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepReport {
    /// Loss of each task in the order of [`Task::ALL`], at the weights at which its gradient was
    /// taken; `None` for a task without a label in the batch.
    pub losses: [Option<f64>; 4],
}

impl StepReport {
    /// Sum of the losses present (equation 1 with unit weights).
    #[must_use]
    pub fn total(&self) -> f64 {
        self.losses.iter().flatten().sum()
    }
}

/// What stops a step.
#[derive(Debug, thiserror::Error)]
pub enum StrategyError {
    /// A loss that is NaN or infinite; no step was made with it.
    #[error("the {} loss is {loss}", task.name())]
    NotFinite {
        /// Whose loss.
        task: Task,
        /// The value.
        loss: f64,
    },
    /// The state to restore is of another strategy or network.
    #[error("optimiser state: {0}")]
    State(String),
    /// A forward pass failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A loss could not be taken.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// An optimiser's step, or its restoration, failed.
    #[error(transparent)]
    Adam(#[from] AdamError),
    /// Another process of a data parallel training is gone.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The tensor library failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The strategies that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// MTL-IO (equation 3): each task in turn, with an optimiser of its own.
    Independent,
    /// Equation 1: one step on the sum of the losses.
    Aggregated,
}

/// Makes the strategy `name` with fresh optimiser state for the parameters of `net`.
#[must_use]
pub fn build(name: StrategyName, net: &UNet, adam: AdamConfig) -> Box<dyn Strategy> {
    match name {
        StrategyName::Independent => Box::new(Independent::new(net, adam)),
        StrategyName::Aggregated => Box::new(Aggregated::new(net, adam)),
    }
}

/// `state` under `prefix.`, to keep the optimisers of one strategy apart.
fn with_prefix(prefix: &str, state: State) -> impl Iterator<Item = (String, Tensor)> {
    state.into_iter().map(move |(name, tensor)| (format!("{prefix}.{name}"), tensor))
}

/// The part of `state` under `prefix.`, without the prefix.
fn under_prefix(prefix: &str, state: &State) -> State {
    let strip = |(name, tensor): (&String, &Tensor)| {
        let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
        Some((rest.to_owned(), tensor.clone()))
    };
    state.iter().filter_map(strip).collect()
}

/// Refuses names in `state` that none of `prefixes` owns.
fn refuse_strangers(prefixes: &[&str], state: &State) -> Result<(), StrategyError> {
    let owned = |name: &str| {
        prefixes.iter().any(|p| name.strip_prefix(p).is_some_and(|rest| rest.starts_with('.')))
    };
    match state.keys().find(|name| !owned(name)) {
        Some(name) => Err(StrategyError::State(format!("`{name}` belongs to another strategy"))),
        None => Ok(()),
    }
}
