//! Multi-task strategies: how the losses of one batch become steps of the weights. One file each.
//!
//! A strategy owns its optimisers and what it has learnt of the tasks; network, batch and learning
//! rate are handed in as a [`Step`]. To add one: implement [`Strategy`] in a file of its own, give it a
//! [`StrategyName`] and a line in [`build`].
//!
//! Three families. *Steps in turn* ([`independent`], [`alternating`], [`grouped`]; [`single`] has one
//! task only): several passes and steps a batch. *Weighted losses* ([`aggregated`], [`weighted`],
//! [`gradnorm`]): one step on a weighted sum; weights reach heads too. *Combined gradients*
//! ([`combined`]): every task's gradient at the same weights, combined where the tasks share
//! parameters, each its own elsewhere (see [`task_gradients`]). The arithmetic of all methods is in
//! [`maths`], free of tensors.

pub mod aggregated;
pub mod alternating;
pub mod combined;
mod draw;
pub mod dwa;
pub mod famo;
#[cfg(test)]
mod golden;
pub mod gradnorm;
pub mod grouped;
pub mod independent;
pub mod maths;
pub mod one_adam;
pub mod options;
pub mod single;
pub mod step;
pub mod task_gradients;
pub mod telemetry;
pub mod uncertainty;
pub mod weighted;

use crate::adam::{AdamConfig, AdamError};
use crate::loss::LossError;
use crate::network::{NetworkError, Task, UNet};
use crate::parallel::PeersError;
use aggregated::Aggregated;
use alternating::Alternating;
use candle_core::Tensor;
use combined::{Combined, Rule};
use dwa::Dwa;
use famo::Famo;
use gradnorm::GradNorm;
use grouped::Grouped;
use independent::Independent;
use maths::{Gram, PerTask, aligned, cagrad, imtl, mgda, nash, pcgrad};
use serde::{Deserialize, Serialize};
use single::Single;
use std::collections::BTreeMap;
use uncertainty::Uncertainty;
use weighted::Weighted;

pub use options::{Options, OptionsError};
pub use step::{Loss, Step, StepOptions, Taught};

/// The optimiser state of a strategy: every tensor by a name that is unique within the strategy.
pub type State = BTreeMap<String, Tensor>;

/// Turns the losses of a batch into one or several steps of the weights.
///
/// The minimum is the four methods. Two guarantees that the training loop relies on:
/// - **Determinism.** The same network, state, batch, learning rate and seed give the same bits.
/// - **No imputation.** A task without a label in the batch, and without a teacher, makes no step:
///   neither weights nor moments that only this task would move are touched.
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
    pub losses: PerTask,
    /// Weight that each task's loss or gradient took in the step; `None` for a task without a label
    /// in the batch. Where gradients are combined it is the weight on what the tasks share.
    pub weights: PerTask,
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
    /// A gradient that is NaN or infinite though its loss is not; no step was made with it.
    #[error("the gradient of the {} loss is not finite", task.name())]
    Gradient {
        /// Whose.
        task: Task,
    },
    /// Single-task learning was asked of a network for several tasks.
    #[error(
        "strategy `single` trains a network for one task, this one has {found} heads: list one task \
         in network.tasks"
    )]
    Heads {
        /// Heads of the network.
        found: usize,
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
    /// Equation 2: each task in turn, one optimiser for all.
    Alternating,
    /// Single-task learning: one head, one optimiser.
    Single,
    /// Random groups of tasks in turn, each with an optimiser of its own (Pascal et al. 2021).
    Grouped,
    /// Losses weighted for equal gradient norms (Chen et al. 2018).
    Gradnorm,
    /// Losses weighted by learnt uncertainty (Kendall et al. 2018).
    Uncertainty,
    /// Losses weighted by their rate of change (Liu et al. 2019).
    Dwa,
    /// Losses weighted for equal relative progress (Liu et al. 2023).
    Famo,
    /// Conflicting parts of gradients projected away (Yu et al. 2020).
    Pcgrad,
    /// The shortest combination of the gradients (Sener & Koltun 2018).
    Mgda,
    /// The direction near the mean that is best for the worst task (Liu et al. 2021).
    Cagrad,
    /// Equal projections on all gradients: IMTL-G (Liu et al. 2021).
    Imtl,
    /// The bargaining solution (Navon et al. 2022).
    NashMtl,
    /// Principal components of the gradients made equally long (Senushkin et al. 2023).
    AlignedMtl,
}

impl StrategyName {
    /// The name used in configurations and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Aggregated => "aggregated",
            Self::Alternating => "alternating",
            Self::Single => "single",
            Self::Grouped => "grouped",
            Self::Gradnorm => "gradnorm",
            Self::Uncertainty => "uncertainty",
            Self::Dwa => "dwa",
            Self::Famo => "famo",
            Self::Pcgrad => "pcgrad",
            Self::Mgda => "mgda",
            Self::Cagrad => "cagrad",
            Self::Imtl => "imtl",
            Self::NashMtl => "nash_mtl",
            Self::AlignedMtl => "aligned_mtl",
        }
    }
}

/// Makes the strategy `name` with fresh optimiser state for the parameters of `net`. Of `options` it
/// takes its own.
///
/// # Errors
/// [`StrategyError::Heads`]: `single` for a network with several heads.
pub fn build(
    name: StrategyName,
    options: &Options,
    net: &UNet,
    adam: AdamConfig,
) -> Result<Box<dyn Strategy>, StrategyError> {
    let combined = |rule: Rule| Box::new(Combined::new(name, net, adam, rule));
    let Options { cagrad_c, mgda_of_directions, .. } = *options;
    Ok(match name {
        StrategyName::Independent => Box::new(Independent::new(net, adam)),
        StrategyName::Aggregated => Box::new(Aggregated::new(net, adam)),
        StrategyName::Alternating => Box::new(Alternating::new(net, adam)),
        StrategyName::Single => Box::new(Single::new(net, adam)?),
        StrategyName::Grouped => Box::new(Grouped::new(net, adam, options.groups)),
        StrategyName::Gradnorm => {
            Box::new(GradNorm::new(net, adam, options.gradnorm_alpha, options.gradnorm_lr))
        }
        StrategyName::Uncertainty => {
            Box::new(Weighted::new(name, net, adam, Uncertainty::new(options.uncertainty_lr)))
        }
        StrategyName::Dwa => {
            Box::new(Weighted::new(name, net, adam, Dwa::new(options.dwa_temperature)))
        }
        StrategyName::Famo => {
            let famo = Famo::new(options.famo_lr, options.famo_gamma);
            Box::new(Weighted::new(name, net, adam, famo))
        }
        StrategyName::Pcgrad => combined(Box::new(|gram: &Gram, seed| {
            pcgrad::weights(gram, &draw::orders(gram.len(), seed))
        })),
        StrategyName::Mgda if mgda_of_directions => {
            combined(Box::new(|gram, _| mgda::weights_of_directions(gram)))
        }
        StrategyName::Mgda => combined(Box::new(|gram, _| mgda::weights(gram))),
        StrategyName::Cagrad => combined(Box::new(move |gram, _| cagrad::weights(gram, cagrad_c))),
        StrategyName::Imtl => combined(Box::new(|gram, _| imtl::weights(gram))),
        StrategyName::NashMtl => combined(Box::new(|gram, _| nash::weights(gram))),
        StrategyName::AlignedMtl => combined(Box::new(|gram, _| aligned::weights(gram))),
    })
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
