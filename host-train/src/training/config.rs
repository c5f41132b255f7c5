//! What a training is asked to do: one TOML file. Defaults reproduce the paper; unknown keys are refused.

pub use super::distill::Distill;
use super::schedule::Schedule;
pub use super::source::{Phantoms, Source};
use crate::adam::AdamConfig;
use crate::dataset::augment::Augment;
use crate::evaluation::SCALE;
use crate::loss::FoveaLoss;
use crate::network::NetworkConfig;
use crate::network::cuda::Precision;
use crate::network::grid::Clipping;
use crate::network::quantize_aware::QuantizeAware;
use crate::strategy::{self, StrategyName};
use glaucoma_common::manifest::Decoding;
use glaucoma_common::preprocess::{Framing, InputContract, ResizeFilter};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A training as configured. Paths are relative to the folder the program is started in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Take what this file does not say from the preset of this name ([`super::preset`]) instead of
    /// from the paper. Never written out: a resolved configuration has everything in it.
    #[serde(skip_serializing)]
    pub preset: Option<String>,
    /// Folder for checkpoints and log; made when it is not there.
    pub out: PathBuf,
    /// Decides initial weights, order of the images, augmentation and dropout.
    pub seed: u64,
    /// Decides which images are kept apart for validation. Apart from `seed`, so that repetitions
    /// and later stages of a training never learn from an image that another one chooses by.
    pub split_seed: u64,
    /// Share of each data set that is kept apart for validation (by patient where known), where the
    /// publisher has not divided it into training and validation parts.
    pub validation_share: f64,
    /// How often every image is seen.
    pub epochs: u64,
    /// Images a step.
    pub batch: usize,
    /// How a GPU multiplies, `tf32`, `f32` or `bf16`; absent: `tf32`. The CPU computes in `f32` and
    /// refuses the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// How many MiB of a GPU's memory may keep the examples that are shown unchanged, so that no step
    /// copies them; absent: 2048. The CPU has no use for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_cache_mib: Option<usize>,
    /// How the tasks share the weights.
    pub strategy: StrategyName,
    /// How the fovea's map is compared with its Gaussian.
    pub fovea_loss: FoveaLoss,
    /// Measure how much the tasks' gradients conflict every so many steps, into the log; 0: never.
    /// Costs about one more step each time and changes nothing in the training.
    pub telemetry_every: u64,
    /// Folder in which decoded pictures are kept from run to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Start the encoder from the ImageNet weights in this file ([`crate::network::pretrained`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PathBuf>,
    /// Start from the weights of this checkpoint (fine-tuning). The optimiser starts afresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// Validate after every so many epochs, and after the last.
    pub validate_every: u64,
    /// Write a line of losses to the log every so many steps.
    pub log_every: u64,
    /// Write `last.safetensors` whenever so many minutes have passed since it was written, besides
    /// at the end of every epoch that took longer than a minute.
    pub checkpoint_minutes: f64,
    /// Write `last.safetensors` every so many steps as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<u64>,
    /// Shape of the network.
    pub network: NetworkConfig,
    /// What the network is given.
    pub input: Input,
    /// Constants of the strategy.
    pub balance: strategy::Options,
    /// Adam.
    pub optimizer: Optimizer,
    /// Learning rate over time.
    pub schedule: Schedule,
    /// Leave the encoder as it is for so many epochs, so that a decoder that knows nothing yet does
    /// not spoil what the encoder was pretrained for. Its running statistics go on moving.
    pub freeze_encoder_epochs: u64,
    /// Keep a moving average of the weights with this decay, in (0, 1); it is what is validated and
    /// what `best.safetensors` holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Train (usually a few epochs from `init_from`) with weights and maps rounded as an int8 file rounds
    /// them; absent: in floating point. Normalisations keep their running statistics as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize_aware: Option<QuantizeAware>,
    /// Stop when so many validations in a row have brought nothing better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Learn from what another network says as well as from labels; absent: from labels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// Random changes of the training images; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// Where the images come from.
    pub data: Vec<Source>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: None,
            out: PathBuf::from("runs/training"),
            seed: 0,
            split_seed: 0,
            validation_share: 0.2,
            epochs: 300,
            batch: 8,
            precision: None,
            gpu_cache_mib: None,
            strategy: StrategyName::Independent,
            fovea_loss: FoveaLoss::L1,
            telemetry_every: 0,
            cache: None,
            pretrained: None,
            init_from: None,
            validate_every: 5,
            log_every: 10,
            checkpoint_minutes: 10.0,
            checkpoint_steps: None,
            network: NetworkConfig::default(),
            input: Input::default(),
            balance: strategy::Options::default(),
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            freeze_encoder_epochs: 0,
            average: None,
            quantize_aware: None,
            patience: None,
            distill: None,
            augment: None,
            data: Vec::new(),
        }
    }
}

/// What the network is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// Side of the square input in pixels; a multiple of 16.
    pub side: u32,
    /// Whole image squeezed to the square (the paper), or a square round the field of view.
    pub framing: Framing,
}

impl Default for Input {
    fn default() -> Self {
        Self { side: 256, framing: Framing::WholeImage }
    }
}

impl Input {
    /// The contract that photographs are prepared by, here and on the device.
    #[must_use]
    pub fn contract(&self) -> InputContract {
        InputContract {
            side: self.side,
            framing: self.framing,
            filter: ResizeFilter::AntialiasedBilinear,
            scale: SCALE,
        }
    }
}

/// Adam's numbers, for every optimiser of the strategy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Full learning rate.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Decoupled weight decay (AdamW) of weights, not of biases and normalisations; 0: none.
    pub weight_decay: f64,
    /// Scale gradients of a larger norm than this down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The encoder's learning rate as a share of `lr`, for a pretrained encoder; at most 1.
    pub encoder_rate: f64,
}

impl Default for Optimizer {
    fn default() -> Self {
        let AdamConfig { beta1, beta2, eps, weight_decay, clip_norm, encoder_rate } =
            AdamConfig::default();
        Self { lr: 1e-4, beta1, beta2, eps, weight_decay, clip_norm, encoder_rate }
    }
}

impl Optimizer {
    /// The same numbers as the optimiser takes them.
    #[must_use]
    pub fn adam(&self) -> AdamConfig {
        let Self { lr: _, beta1, beta2, eps, weight_decay, clip_norm, encoder_rate } = *self;
        AdamConfig { beta1, beta2, eps, weight_decay, clip_norm, encoder_rate }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The configuration.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The configuration.
        path: PathBuf,
        /// Where and what, with the line.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot work.
    #[error("configuration: {0}")]
    Value(String),
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        let parse =
            |source| ConfigError::Parse { path: path.to_path_buf(), source: Box::new(source) };
        // Once for its errors, which name the line.
        toml::from_str::<Self>(&text).map_err(parse)?;
        Self::from_table(text.parse().map_err(parse)?)
    }

    /// The configuration in `own`, over the preset that it may name; checked.
    ///
    /// # Errors
    /// Unknown keys, a preset that is not there, values that cannot work.
    pub fn from_table(mut own: toml::Table) -> Result<Self, ConfigError> {
        let config = match own.remove("preset") {
            Some(toml::Value::String(name)) => Self::over(&name, own)?,
            Some(other) => return Err(ConfigError::Value(format!("preset: {other} is no name"))),
            None => own.try_into().map_err(|error| ConfigError::Value(error.to_string()))?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The preset `name` as a configuration, without any data yet.
    ///
    /// # Errors
    /// A name that no preset has.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        Self::over(name, toml::Table::new())
    }

    /// The preset `name` with the keys of `own` over it.
    fn over(name: &str, own: toml::Table) -> Result<Self, ConfigError> {
        let merged = super::preset::under(name, own)?;
        merged.try_into().map_err(|error| ConfigError::Value(error.to_string()))
    }

    /// How the outputs of a network trained so are read, in every evaluation and, unless its makers say
    /// otherwise, on the device.
    #[must_use]
    pub fn decoding(&self) -> Decoding {
        Decoding { fovea_floor: self.fovea_loss.floor(), ..Decoding::default() }
    }

    /// The configuration as TOML, every default written out.
    ///
    /// # Errors
    /// A value that TOML cannot hold (an integer above 2^63).
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Value(error.to_string()))
    }

    /// Refuses values that cannot work, before any image is read.
    ///
    /// # Errors
    /// [`ConfigError::Value`] naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let share = |value: f64| (0.0..1.0).contains(&value);
        require(self.epochs > 0, "epochs must be at least 1")?;
        require(self.batch > 0, "batch must be at least 1")?;
        require(share(self.validation_share), "validation_share must be in [0, 1)")?;
        require(self.validate_every > 0, "validate_every must be at least 1")?;
        require(self.log_every > 0, "log_every must be at least 1")?;
        require(positive(self.checkpoint_minutes), "checkpoint_minutes must be above 0")?;
        require(self.checkpoint_steps != Some(0), "checkpoint_steps must be at least 1")?;
        require(
            self.input.side > 0 && self.input.side.is_multiple_of(16),
            "input.side must be a multiple of 16, for four poolings by two",
        )?;
        require(positive(self.optimizer.lr), "optimizer.lr must be above 0")?;
        require(share(self.optimizer.beta1), "optimizer.beta1 must be in [0, 1)")?;
        require(share(self.optimizer.beta2), "optimizer.beta2 must be in [0, 1)")?;
        require(positive(self.optimizer.eps), "optimizer.eps must be above 0")?;
        require(share(self.optimizer.weight_decay), "optimizer.weight_decay must be in [0, 1)")?;
        require(
            self.optimizer.clip_norm.is_none_or(positive),
            "optimizer.clip_norm must be above 0",
        )?;
        require(
            self.optimizer.encoder_rate > 0.0 && self.optimizer.encoder_rate <= 1.0,
            "optimizer.encoder_rate must be above 0 and at most 1",
        )?;
        require(
            self.average.is_none_or(|decay| decay > 0.0 && decay < 1.0),
            "average must be between 0 and 1",
        )?;
        require(
            self.pretrained.is_none() || self.init_from.is_none(),
            "pretrained and init_from exclude each other: each says where the weights start",
        )?;
        if let Some(QuantizeAware { clipping, images, .. }) = self.quantize_aware {
            require(
                self.init_from.is_some(),
                "quantize_aware needs init_from: grids are chosen for a network that has learnt",
            )?;
            require(images > 0, "quantize_aware.images must be at least 1")?;
            let quantile = match clipping {
                Clipping::Quantile(share) => share > 0.0 && share <= 1.0,
                _ => true,
            };
            require(quantile, "quantize_aware.clipping.quantile must be above 0 and at most 1")?;
        }
        require(self.patience != Some(0), "patience must be at least 1")?;
        self.distill.as_ref().map_or(Ok(()), |distill| distill.validate(&self.network))?;
        require(self.schedule.drop_steps > 0, "schedule.drop_steps must be at least 1")?;
        require(
            self.schedule.drop_factor > 0.0 && self.schedule.drop_factor <= 1.0,
            "schedule.drop_factor must be above 0 and at most 1",
        )?;
        require(
            (0.0..=1.0).contains(&self.schedule.final_share),
            "schedule.final_share must be in [0, 1]",
        )?;
        self.balance.validate().map_err(|error| ConfigError::Value(error.to_string()))?;
        require(
            self.strategy != StrategyName::Single || self.network.tasks.len() == 1,
            "strategy `single` trains a network for one task: list one task in network.tasks",
        )?;
        self.network.validate().map_err(|error| ConfigError::Value(error.to_string()))?;
        let own = self.data.iter().filter_map(|source| source.augment.as_ref());
        for augment in self.augment.iter().chain(own) {
            augment.validate().map_err(|error| ConfigError::Value(error.to_string()))?;
        }
        for crop in self.data.iter().filter_map(|source| source.disc_crop.as_ref()) {
            crop.validate().map_err(|error| ConfigError::Value(error.to_string()))?;
        }
        require(!self.data.is_empty(), "no [[data]]: name at least one source of images")?;
        self.data.iter().try_for_each(Source::validate)
    }
}

pub(super) fn require(good: bool, what: &str) -> Result<(), ConfigError> {
    if good { Ok(()) } else { Err(ConfigError::Value(what.to_owned())) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn the_defaults_are_the_paper() {
        let config = parse("[[data]]\npath = \"REFUGE\"\n").unwrap();
        assert_eq!((config.batch, config.epochs, config.validate_every), (8, 300, 5));
        assert_eq!(config.optimizer.adam(), AdamConfig::default());
        assert_eq!(config.optimizer.lr, 1e-4);
        assert_eq!(config.strategy, StrategyName::Independent);
        assert_eq!(config.telemetry_every, 0);
        assert_eq!(config.input, Input { side: 256, framing: Framing::WholeImage });
        assert_eq!(config.network, NetworkConfig::default());
        assert_eq!(config.schedule.rate(1e-4, 7, 100), 1e-4);
        assert!(config.augment.is_none());
    }

    #[test]
    fn a_resolved_configuration_reads_back_the_same() {
        let config = parse(
            "seed = 3\ninit_from = \"a.safetensors\"\n[network]\nwidth = 0.25\n\
             [[data]]\npath = \"a\"\ntasks = [\"disc\", \"fovea\"]\n[[data]]\npath = \"b\"\n",
        )
        .unwrap();
        let text = config.to_toml().unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn a_map_is_read_as_it_was_learnt() {
        let paper = parse("[[data]]\npath = \"a\"\n").unwrap();
        assert_eq!(paper.decoding(), Decoding::default());
        let other = parse("fovea_loss = \"bce\"\n[[data]]\npath = \"a\"\n").unwrap();
        assert_eq!(other.decoding().fovea_floor, 0.5);
    }

    #[test]
    fn a_file_stands_over_its_preset() {
        let text = "preset = \"recommended\"\nepochs = 7\n[optimizer]\nlr = 0.25\n[[data]]\npath = \"a\"\n";
        let config = parse(text).unwrap();
        let preset = Config::preset("recommended").unwrap();
        assert_eq!((config.epochs, config.optimizer.lr), (7, 0.25));
        assert_eq!(config.optimizer.weight_decay, preset.optimizer.weight_decay);
        assert_eq!((config.fovea_loss, config.average), (preset.fovea_loss, preset.average));
        assert_ne!(preset, Config::preset("paper").unwrap());
        assert_eq!(Config::preset("paper").unwrap(), Config::default());
        assert_eq!(toml::from_str::<Config>(&config.to_toml().unwrap()).unwrap(), config);
        let error = parse("preset = \"best\"\n").unwrap_err().to_string();
        assert!(error.contains("best") && error.contains("recommended"), "{error}");
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused_by_name() {
        let cases = [
            ("epoch = 3\n", "epoch"),
            ("[network]\nwidht = 0.5\n", "widht"),
            ("[[data]]\npath = \"a\"\nwieght = 2\n", "wieght"),
            ("batch = 0\n[[data]]\npath = \"a\"\n", "batch"),
            ("[input]\nside = 100\n[[data]]\npath = \"a\"\n", "multiple of 16"),
            ("[optimizer]\nlr = -1.0\n[[data]]\npath = \"a\"\n", "optimizer.lr"),
            ("[balance]\ncagrad_c = 1.0\n[[data]]\npath = \"a\"\n", "balance.cagrad_c"),
            ("strategy = \"single\"\n[[data]]\npath = \"a\"\n", "network.tasks"),
            ("epochs = 3\n", "[[data]]"),
            ("[[data]]\nweight = 1.0\n", "needs a `path`"),
            ("[[data]]\npath = \"a\"\nphantoms = {}\n", "`phantoms` instead"),
            ("[[data]]\nphantoms = { side = 64 }\n", "128..2048"),
            ("average = 1.0\n[[data]]\npath = \"a\"\n", "average"),
            ("patience = 0\n[[data]]\npath = \"a\"\n", "patience"),
            ("[optimizer]\nclip_norm = 0.0\n[[data]]\npath = \"a\"\n", "clip_norm"),
            ("[optimizer]\nencoder_rate = 2.0\n[[data]]\npath = \"a\"\n", "encoder_rate"),
            ("[[data]]\npath = \"a\"\nvalidation_share = 1.0\n", "validation_share"),
        ];
        for (text, wanted) in cases {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{text:?} gave {message:?}");
        }
    }
}
