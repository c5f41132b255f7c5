//! Learning from another network: which teacher, and what it says of a batch.

use super::checkpoint::{Checkpoint, CheckpointError};
use super::config::{Config, ConfigError, require};
use crate::dataset::batches::Batch;
use crate::export::engine::{Engine, EngineError};
use crate::network::{Mode, NetworkConfig, NetworkError, Task, UNet};
use crate::strategy::Taught;
use candle_core::{Device, Tensor};
use glaucoma_common::photo::sha256_hex;
use glaucoma_common::preprocess::InputContract;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Whom to learn from, as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// The teacher: a checkpoint, or a finished bundle (`.onnx`), which is asked in the engine of the
    /// device. It must have the student's input and the heads that it teaches.
    pub teacher: PathBuf,
    /// SHA-256 of that file in hex; another file is refused. Absent: whatever the file is now, which
    /// the training then keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What a task's loss against the teacher's probabilities, over all images, counts beside its loss
    /// against the labels, over the labelled ones; above 0.
    #[serde(default = "one")]
    pub weight: f64,
    /// The tasks that it teaches, of those that the student has; absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Task>>,
}

fn one() -> f64 {
    1.0
}

impl Distill {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`ConfigError::Value`] naming the key.
    pub(super) fn validate(&self, student: &NetworkConfig) -> Result<(), ConfigError> {
        require(!self.teacher.as_os_str().is_empty(), "distill.teacher is empty")?;
        let positive = self.weight.is_finite() && self.weight > 0.0;
        require(positive, "distill.weight must be above 0")?;
        let tasks = self.taught(student);
        let known = tasks.iter().all(|task| student.tasks.contains(task));
        require(
            known && !tasks.is_empty(),
            "distill.tasks must be tasks of the network, at least one",
        )
    }

    fn taught<'a>(&'a self, student: &'a NetworkConfig) -> &'a [Task] {
        self.tasks.as_deref().unwrap_or(&student.tasks)
    }
}

/// Why a network cannot teach.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    /// The file cannot be read.
    #[error("teacher {}: cannot be read: {source}", path.display())]
    Read {
        /// The teacher.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not the file that the configuration, or the training so far, had.
    #[error(
        "teacher {}: another file than before: its SHA-256 is {found}, distill.sha256 is {expected}",
        path.display()
    )]
    Changed {
        /// The teacher.
        path: PathBuf,
        /// As configured, or as at the start of the training.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// It looks at photographs in another way than the student.
    #[error(
        "teacher {}: it takes another input than the student: {} px, {:?}, instead of {} px, {:?}; give \
         both the same [input]",
        path.display(), teacher.side, teacher.framing, student.side, student.framing
    )]
    Input {
        /// The teacher.
        path: PathBuf,
        /// What it takes.
        teacher: InputContract,
        /// What the student takes.
        student: InputContract,
    },
    /// It does not predict what the student should learn.
    #[error("teacher {}: it has no head for the student's task {}", path.display(), task.name())]
    Head {
        /// The checkpoint.
        path: PathBuf,
        /// The task.
        task: Task,
    },
    /// The bundle is damaged, or none, or does not run.
    #[error("teacher {}: {source}", path.display())]
    Bundle {
        /// The bundle.
        path: PathBuf,
        /// What the engine said.
        source: EngineError,
    },
    /// The checkpoint is damaged, or none.
    #[error("teacher {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Its pass failed.
    #[error("teacher: {0}")]
    Network(#[from] NetworkError),
    /// The tensor library failed.
    #[error("teacher: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A trained network that says what it sees in every image of a batch. It never changes.
pub struct Teacher {
    path: PathBuf,
    network: Network,
    tasks: Vec<Task>,
    weight: f64,
}

/// In which form the teacher is there.
enum Network {
    /// As it was trained.
    Trained(UNet),
    /// As a device has it.
    Bundle(Box<Engine>),
}

impl Teacher {
    /// The teacher that `config` names, if any. Its hash is noted in the configuration, which is
    /// kept in every checkpoint: a resumed training has the same teacher or none.
    ///
    /// # Errors
    /// See [`TeacherError`].
    pub fn open(config: &mut Config, device: &Device) -> Result<Option<Self>, TeacherError> {
        let student = config.input.contract();
        let Some(distill) = &mut config.distill else { return Ok(None) };
        let path = distill.teacher.clone();
        let tasks = distill.taught(&config.network).to_vec();
        let bytes = read(&path)?;
        let found = sha256_hex(&bytes);
        if let Some(expected) = distill.sha256.as_ref().filter(|expected| **expected != found) {
            return Err(TeacherError::Changed { path, expected: expected.clone(), found });
        }
        let (network, teacher, heads) = load(&path, bytes, device)?;
        if teacher != student {
            return Err(TeacherError::Input { path, teacher, student });
        }
        if let Some(&task) = tasks.iter().find(|task| !heads.contains(task)) {
            return Err(TeacherError::Head { path, task });
        }
        distill.sha256 = Some(found);
        Ok(Some(Self { path, network, tasks, weight: distill.weight }))
    }

    /// What it says of the images of `batch`, which are those that the student is shown.
    ///
    /// # Errors
    /// Failures of the network.
    pub fn teach(&self, batch: &Batch) -> Result<Taught, TeacherError> {
        let mut said: [Vec<Tensor>; 4] = Default::default();
        for at in 0..batch.images.dim(0)? {
            // One by one: a teacher is large, and its pass holds every map of it until it is over.
            let image = batch.images.narrow(0, at, 1)?;
            let answers = match &self.network {
                Network::Trained(net) => self.ask_network(net, &image)?,
                Network::Bundle(engine) => self.ask_bundle(engine, &image)?,
            };
            for (all, answer) in said.iter_mut().zip(answers) {
                all.extend(answer);
            }
        }
        let mut probabilities = [const { None }; 4];
        for (all, images) in probabilities.iter_mut().zip(&said) {
            if !images.is_empty() {
                *all = Some(Tensor::cat(images, 0)?);
            }
        }
        Ok(Taught { probabilities, weight: self.weight })
    }

    fn ask_network(&self, net: &UNet, image: &Tensor) -> Result<[Option<Tensor>; 4], TeacherError> {
        let outputs = net.forward(image, &self.tasks, Mode::Evaluate)?;
        let mut answers = [const { None }; 4];
        for &task in &self.tasks {
            if let Some(logits) = outputs.logits(task) {
                answers[task.index()] = Some(candle_nn::ops::sigmoid(&logits.detach())?);
            }
        }
        Ok(answers)
    }

    fn ask_bundle(
        &self,
        engine: &Engine,
        image: &Tensor,
    ) -> Result<[Option<Tensor>; 4], TeacherError> {
        let device = image.device();
        let output = engine
            .run_input(&image.flatten_all()?.to_vec1::<f32>()?)
            .map_err(|source| TeacherError::Bundle { path: self.path.clone(), source })?;
        let side = output.side as usize;
        let map = |values: &[f32]| Tensor::from_slice(values, (1, 1, side, side), device);
        let mut answers = [const { None }; 4];
        for &task in &self.tasks {
            answers[task.index()] = Some(match task {
                Task::Glaucoma => Tensor::new(&[output.glaucoma], device)?,
                Task::Disc => map(&output.disc)?,
                Task::Cup => map(&output.cup)?,
                Task::Fovea => map(&output.fovea)?,
            });
        }
        Ok(answers)
    }
}

/// The network in a file of these bytes, what it takes and which heads it has.
fn load(
    path: &Path,
    bytes: Vec<u8>,
    device: &Device,
) -> Result<(Network, InputContract, Vec<Task>), TeacherError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
        let bundle = |source| TeacherError::Bundle { path: path.to_path_buf(), source };
        let engine = Engine::load(&bytes).map_err(bundle)?;
        let manifest = engine.manifest().map_err(bundle)?;
        return Ok((Network::Bundle(Box::new(engine)), manifest.input, Task::ALL.to_vec()));
    }
    drop(bytes);
    let checkpoint = Checkpoint::load(path)?;
    let own = &checkpoint.info().config;
    let (input, heads) = (own.input.contract(), own.network.tasks.clone());
    Ok((Network::Trained(checkpoint.network(device)?), input, heads))
}

fn read(path: &Path) -> Result<Vec<u8>, TeacherError> {
    std::fs::read(path).map_err(|source| TeacherError::Read { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests;
