//! The training loop: epochs, validation, best model, checkpoints, exact resume, progress, log.
//!
//! [`run`] is the whole of it. Nothing random is kept between steps: order, augmentation and dropout
//! are functions of the run's seed and the position, so weights, running statistics, moments and
//! [`checkpoint::Position`] are all that a checkpoint needs for a resumed run to make, on the CPU,
//! the same bits as one that was never interrupted.

mod average;
pub mod checkpoint;
pub mod config;
pub mod curves;
pub mod data;
pub mod distill;
pub mod events;
mod labels;
pub mod log;
pub mod preset;
mod progress;
pub mod schedule;
pub mod seed;
mod session;
pub mod source;
#[cfg(test)]
mod tests;
mod together;
mod validate;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointInfo};
pub use config::{Config, ConfigError};

use crate::dataset::DatasetError;
use crate::evaluation::EvaluationError;
use crate::network::pretrained::PretrainedError;
use crate::network::{NetworkError, Task};
use crate::parallel::{Alone, Peers, PeersError};
use crate::strategy::StrategyError;
use candle_core::Device;
use distill::TeacherError;
use session::Session;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name of the checkpoint to resume from, always the latest.
pub const LAST: &str = "last.safetensors";
/// Name of the weights with the lowest total validation loss.
pub const BEST: &str = "best.safetensors";
/// Name of the resolved configuration in the run's folder.
pub const CONFIG: &str = "config.toml";

/// What may stop a training before its last epoch, and who trains with it. All limits are looked at
/// before each step.
#[derive(Debug, Clone)]
pub struct Control {
    /// Set from outside (Ctrl-C) to stop at the next step.
    pub stop: Arc<AtomicBool>,
    /// Stop when so much wall time has passed since [`run`] was called.
    pub limit: Option<Duration>,
    /// Stop after so many steps of this run.
    pub max_steps: Option<u64>,
    /// The processes that train together; only the first of them writes into the run's folder.
    pub peers: Rc<dyn Peers>,
}

impl Default for Control {
    fn default() -> Self {
        Self { stop: Arc::default(), limit: None, max_steps: None, peers: Rc::new(Alone) }
    }
}

/// Why a training ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// Asked to stop.
    Interrupted,
    /// A limit of [`Control`] was reached.
    OutOfTime,
    /// As many validations in a row as the configuration's `patience` brought nothing better.
    Stalled,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::OutOfTime => "out_of_time",
            Self::Stalled => "stalled",
        }
    }
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why.
    pub ending: Ending,
    /// Where it stood.
    pub position: checkpoint::Position,
    /// The best validation.
    pub best: Option<checkpoint::Best>,
    /// The run's folder.
    pub out: PathBuf,
}

/// What stops a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A loss became NaN or infinite.
    #[error(
        "step {step} (epoch {epoch}): the {} loss is {loss} on the batch {files:?}; stopped before \
         using it, the last good checkpoint is {checkpoint}", task.name()
    )]
    NotFinite {
        /// Steps made before.
        step: u64,
        /// Epoch, from 0.
        epoch: u64,
        /// Whose loss.
        task: Task,
        /// The value.
        loss: f64,
        /// The images of the batch.
        files: Vec<String>,
        /// The checkpoint that is left, or that there is none yet.
        checkpoint: String,
    },
    /// The data are not those that the checkpoint was made with.
    #[error(
        "the images or labels have changed since the checkpoint was written (its data hash is \
         {expected}, now {found}): a resumed training would not be the same training; start \
         from the weights with `init_from` instead"
    )]
    DataChanged {
        /// Hash in the checkpoint.
        expected: String,
        /// Hash of the data now.
        found: String,
    },
    /// A new training would overwrite another.
    #[error("{}: holds a training already; resume it with `--resume {}`, or choose another folder", path.display(), path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The sources give nothing to learn from, or nothing to choose by.
    #[error("data: {0}")]
    Data(String),
    /// A folder or the log cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pretrained weights cannot be used.
    #[error(transparent)]
    Pretrained(Box<PretrainedError>),
    /// The network to learn from cannot teach.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// Reading or writing a checkpoint failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Reading the images failed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A step failed.
    #[error("step {step}: {source}")]
    Step {
        /// Steps made before.
        step: u64,
        /// Why.
        source: StrategyError,
    },
    /// The strategy does not suit the network.
    #[error(transparent)]
    Strategy(StrategyError),
    /// Validation failed.
    #[error("validation: {0}")]
    Evaluation(#[from] EvaluationError),
    /// The processes that should train together do not.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The network cannot be built or run.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The tensor library failed.
    #[error("training: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Trains as `config` says until its last epoch or until `control` stops it, and leaves
/// `last.safetensors`, `best.safetensors` (after the first validation), `config.toml`,
/// `metrics.jsonl` and TensorBoard's event files in `config.out`.
///
/// # Errors
/// See [`TrainingError`]. Whatever happens, the checkpoints in the folder are whole ones.
pub fn run(config: Config, control: &Control, device: &Device) -> Result<Outcome, TrainingError> {
    let clock = Clock::start(control);
    config.validate()?;
    if config.out.join(LAST).exists() {
        return Err(TrainingError::Occupied { path: config.out });
    }
    Session::fresh(config, clock, device)?.run()
}

/// Goes on from a checkpoint with optimiser state. `overrides` may change what does not make it
/// another training: the number of epochs and the folder.
///
/// # Errors
/// As for [`run`], and when the images or labels are not those of the checkpoint.
pub fn resume(
    checkpoint: &Checkpoint,
    overrides: impl FnOnce(&mut Config),
    control: &Control,
    device: &Device,
) -> Result<Outcome, TrainingError> {
    let clock = Clock::start(control);
    let mut config = checkpoint.info().config.clone();
    overrides(&mut config);
    config.validate()?;
    Session::resumed(config, checkpoint, clock, device)?.run()
}

/// The limits of a [`Control`] with the moment they count from.
struct Clock<'a> {
    control: &'a Control,
    started: Instant,
}

impl<'a> Clock<'a> {
    fn start(control: &'a Control) -> Self {
        Self { control, started: Instant::now() }
    }

    fn peers(&self) -> &'a dyn Peers {
        self.control.peers.as_ref()
    }

    fn interrupted(&self) -> bool {
        self.control.stop.load(Ordering::Relaxed)
    }

    /// Whether to stop now, after `steps` steps of this run.
    fn ending(&self, steps: u64) -> Option<Ending> {
        let late = self.control.limit.is_some_and(|limit| self.started.elapsed() >= limit);
        let enough = self.control.max_steps.is_some_and(|most| steps >= most);
        if self.interrupted() {
            Some(Ending::Interrupted)
        } else {
            (late || enough).then_some(Ending::OutOfTime)
        }
    }
}

/// Revision of the checkout that this program was built in, as it is now; `None` away from it.
fn git_revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = std::process::Command::new("git");
        let output = command.arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if dirty.is_empty() { revision } else { format!("{revision}-modified") })
}
