//! The metrics log: one JSON object a line, readable while the training runs, and the same numbers as
//! TensorBoard's curves ([`super::events`]).

use super::events::Events;
use crate::strategy::telemetry::Conflict;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Name of the log in a run's folder.
pub const FILE_NAME: &str = "metrics.jsonl";

/// A number a task in the order of [`crate::network::Task::ALL`], by name: losses, or their weights.
/// Absent tasks are left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Losses {
    /// Focal loss of the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glaucoma: Option<f64>,
    /// Cross-entropy of the disc mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disc: Option<f64>,
    /// Cross-entropy of the cup mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cup: Option<f64>,
    /// L1 of the fovea map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fovea: Option<f64>,
}

impl From<[Option<f64>; 4]> for Losses {
    fn from([glaucoma, disc, cup, fovea]: [Option<f64>; 4]) -> Self {
        Self { glaucoma, disc, cup, fovea }
    }
}

/// One line of the log.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Entry<'a> {
    /// The run began, or went on after an interruption.
    Start {
        /// Steps made before.
        step: u64,
        /// Steps that the whole training has.
        steps: u64,
        /// Learnable numbers.
        parameters: usize,
        /// Images to learn from.
        training_images: usize,
        /// Images to choose by.
        validation_images: usize,
        /// SHA-256 of everything that is fed to the network.
        dataset_hash: &'a str,
    },
    /// Means over the steps since the last such line.
    Step {
        /// Steps made so far.
        step: u64,
        /// Epoch, from 0.
        epoch: u64,
        /// Mean loss of each task over the steps in which it had a label.
        losses: Losses,
        /// Learning rate of the last step.
        lr: f64,
        /// Mean wall time of a step, waiting included.
        seconds_per_step: f64,
        /// Mean time a step waited for its batch.
        data_wait_seconds: f64,
    },
    /// How much the tasks' gradients conflicted in one step, before it was made; every
    /// `telemetry_every` steps.
    Conflict {
        /// Steps made so far, this one included.
        step: u64,
        /// Epoch, from 0.
        epoch: u64,
        /// `encoder` and `decoder`, each with `norms`, `ratios` and `cosines`.
        #[serde(flatten)]
        conflict: &'a Conflict,
        /// Weight that the strategy gave each task in this step, by name.
        weights: Losses,
    },
    /// What a validation found.
    Validation {
        /// Steps made so far.
        step: u64,
        /// Epoch after which it ran, from 0.
        epoch: u64,
        /// Mean loss of each task over the validation images that have its label.
        losses: Losses,
        /// Their sum: what the best model is chosen by.
        total: f64,
        /// Whether this is the best so far.
        best: bool,
        /// Wall time of the validation.
        seconds: f64,
        /// Metrics by data set.
        metrics: serde_json::Value,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps made so far.
        step: u64,
        /// Which file.
        file: &'a str,
        /// Wall time of writing it.
        seconds: f64,
    },
    /// The run ended.
    Stop {
        /// Steps made so far.
        step: u64,
        /// `finished`, `stalled`, `interrupted` or `out_of_time`.
        reason: &'a str,
    },
}

/// Appends entries to a run's log and event file, or to nothing: of the processes that train one
/// network together only the first keeps a log.
pub struct Log(Option<(File, Events)>);

impl Log {
    /// Opens the log in `folder`. Lines of steps after `step` are dropped first: they were made by
    /// a run that ended before its next checkpoint, and are about to be made again.
    ///
    /// # Errors
    /// The file cannot be read, rewritten or opened.
    pub fn open(folder: &Path, step: u64) -> io::Result<Self> {
        let path = folder.join(FILE_NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let kept: String =
                    text.split_inclusive('\n').filter(|l| is_kept(l, step)).collect();
                if kept != text {
                    glaucoma_common::files::write(&path, kept.as_bytes())?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Some((file, Events::create(folder)?))))
    }

    /// A log that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Appends one line.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let Some((file, events)) = &mut self.0 else { return Ok(()) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        // One write a line: a reader following the file never sees half of one.
        file.write_all(&line)?;
        events.write(entry)
    }
}

fn is_kept(line: &str, step: u64) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
    // A line cut short by a crash is no line.
    value.and_then(|v| v.get("step")?.as_u64()).is_some_and(|at| at <= step)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stop(step: u64) -> Entry<'static> {
        Entry::Stop { step, reason: "interrupted" }
    }

    #[test]
    fn lines_after_the_checkpoint_are_dropped_on_resume() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 0).unwrap();
        (1..=5).for_each(|step| log.write(&stop(step)).unwrap());
        drop(log);
        let path = folder.path().join(FILE_NAME);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"event\":\"st");
        std::fs::write(&path, text).unwrap();
        Log::open(folder.path(), 3).unwrap().write(&stop(4)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<u64> = text
            .lines()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l).unwrap()["step"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(steps, [1, 2, 3, 4]);
    }
}
