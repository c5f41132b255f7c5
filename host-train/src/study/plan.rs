//! Which trainings a study has, and how each is configured.

use super::{Part, StudyConfig};
use crate::network::Task;
use crate::strategy::StrategyName;
use crate::training::Config;
use std::path::PathBuf;

/// One repetition of one method: a network, or, for single-task learning, one a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The method.
    pub method: StrategyName,
    /// Whether the encoder starts from pretrained weights.
    pub pretrained: bool,
    /// The learning rate.
    pub rate: f64,
    /// The seed.
    pub seed: u64,
}

/// One training of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Name, unique in the study.
    pub name: String,
    /// Its configuration; its folder is `out`.
    pub config: Config,
}

/// The trials of `part`, the first seed of every method before the second of any: a study that is
/// stopped early has something to say of all.
#[must_use]
pub fn trials(config: &StudyConfig, part: Part) -> Vec<Trial> {
    use StrategyName::{Independent, Single};
    let usual = config.training.optimizer.lr;
    let kinds: Vec<(StrategyName, bool, f64)> = match part {
        Part::Table1 => config.methods.iter().map(|method| (*method, false, usual)).collect(),
        Part::Table2 => {
            let starts: &[bool] =
                if config.pretrained.is_some() { &[false, true] } else { &[false] };
            let both = |pretrained: &bool| {
                [(Single, *pretrained, usual), (Independent, *pretrained, usual)]
            };
            starts.iter().flat_map(both).collect()
        }
        Part::LrSweep => {
            let rate = |rate: &f64| {
                config.sweep_methods.iter().map(move |m| (*m, false, *rate)).collect::<Vec<_>>()
            };
            config.rates.iter().flat_map(rate).collect()
        }
        Part::Figures => Vec::new(),
    };
    let of_seed = |seed: &u64| {
        let trial = |&(method, pretrained, rate): &(StrategyName, bool, f64)| Trial {
            method,
            pretrained,
            rate,
            seed: *seed,
        };
        kinds.iter().map(trial).collect::<Vec<_>>()
    };
    config.seeds.iter().flat_map(of_seed).collect()
}

impl Trial {
    /// Name of its folder: method, learning rate and seed.
    #[must_use]
    pub fn name(&self) -> String {
        let start = if self.pretrained { "-pretrained" } else { "" };
        format!("{}{start}-lr{:e}-seed{}", self.method.name(), self.rate, self.seed)
    }

    /// Its folder in the study.
    #[must_use]
    pub fn folder(&self, study: &StudyConfig) -> PathBuf {
        study.out.join("trials").join(self.name())
    }

    /// Its trainings: one, or, for single-task learning, one a task.
    #[must_use]
    pub fn runs(&self, study: &StudyConfig) -> Vec<Run> {
        let mut config = study.training.clone();
        config.strategy = self.method;
        config.seed = self.seed;
        config.optimizer.lr = self.rate;
        config.pretrained = study.pretrained.clone().filter(|_| self.pretrained);
        let folder = self.folder(study);
        if self.method != StrategyName::Single {
            config.out = folder;
            return vec![Run { name: self.name(), config }];
        }
        let one = |task: &Task| {
            let mut config = config.clone();
            config.network.tasks = vec![*task];
            config.out = folder.join(task.name());
            Run { name: format!("{}/{}", self.name(), task.name()), config }
        };
        study.training.network.tasks.iter().map(one).collect()
    }
}
