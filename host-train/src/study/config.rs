//! What a study is asked to do: one TOML file.

use crate::strategy::StrategyName;
use crate::training::{Config, ConfigError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A study as configured. Paths are relative to the folder the program is started in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyConfig {
    /// Folder for runs, tables, figures and the page.
    pub out: PathBuf,
    /// One repetition a seed; the paper has three.
    pub seeds: Vec<u64>,
    /// The methods of Table 1.
    pub methods: Vec<StrategyName>,
    /// The learning rates of the sweep.
    pub rates: Vec<f64>,
    /// The methods of the sweep.
    pub sweep_methods: Vec<StrategyName>,
    /// Encoder weights for Table 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PathBuf>,
    /// What is said of the study on its page.
    pub remark: String,
    /// What every run has in common; seed, strategy, learning rate and folder are the study's.
    pub training: Config,
}

/// The file's form: the training as it stands, because it may name a preset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    out: PathBuf,
    seeds: Vec<u64>,
    methods: Vec<StrategyName>,
    rates: Vec<f64>,
    sweep_methods: Vec<StrategyName>,
    pretrained: Option<PathBuf>,
    remark: String,
    training: toml::Table,
}

impl Default for Form {
    fn default() -> Self {
        use StrategyName::{Gradnorm, Independent, Pcgrad, Single};
        Self {
            out: PathBuf::from("runs/study"),
            seeds: vec![1, 2, 3],
            methods: vec![Single, Independent, Gradnorm, Pcgrad],
            rates: vec![1e-5, 3e-5, 1e-4, 3e-4, 1e-3],
            sweep_methods: vec![Single, Independent],
            pretrained: None,
            remark: String::new(),
            training: toml::Table::new(),
        }
    }
}

impl StudyConfig {
    /// Reads and checks a study.
    ///
    /// # Errors
    /// Unreadable, not TOML, unknown keys, or values that cannot work.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        let form: Form = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_path_buf(),
            source: Box::new(source),
        })?;
        let Form { out, seeds, methods, rates, sweep_methods, pretrained, remark, training } = form;
        let training = Config::from_table(training)?;
        let config =
            Self { out, seeds, methods, rates, sweep_methods, pretrained, remark, training };
        config.validate()?;
        Ok(config)
    }

    /// Refuses what cannot work, before anything is trained.
    ///
    /// # Errors
    /// [`ConfigError::Value`] naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.training.validate()?;
        let require = |good: bool, what: &str| {
            if good { Ok(()) } else { Err(ConfigError::Value(what.to_owned())) }
        };
        require(!self.seeds.is_empty(), "seeds is empty")?;
        require(!self.methods.is_empty(), "methods is empty")?;
        require(
            self.rates.iter().all(|rate| rate.is_finite() && *rate > 0.0),
            "rates must be above 0",
        )?;
        require(
            self.training.data.iter().any(|source| source.phantoms.is_none()),
            "a study reports on photographs that no training saw: at least one [[training.data]] \
             must be a folder",
        )
    }
}
