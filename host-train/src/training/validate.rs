//! Validation: the losses that the best model is chosen by, and metrics to look at.

use super::data::Held;
use super::{Config, TrainingError};
use crate::dataset::batches::{Batch, Example};
use crate::evaluation::report::DatasetReport;
use crate::evaluation::score::{Scored, score};
use crate::evaluation::{EvaluationError, outputs_of};
use crate::loss::masked_loss;
use crate::network::{Mode, Task, UNet};
use candle_core::Device;
use glaucoma_common::risk::VcdrModel;
use std::collections::BTreeMap;

/// What a validation found.
pub struct Validation {
    /// Mean loss of each task over the pictures that have its label.
    pub losses: [Option<f64>; 4],
    /// Their sum.
    pub total: f64,
    /// Metrics by group of pictures, for the log.
    pub metrics: serde_json::Value,
    /// The same for a reader, a line a group.
    pub lines: Vec<String>,
}

/// Measures `net` on the pictures kept apart. `None` when `stop` said so before the end.
///
/// A task's loss is the mean over its labelled pictures, each picture counting once, whatever the
/// batches: it does not depend on the batch size.
pub fn validate(
    net: &UNet,
    held: &[Held],
    config: &Config,
    vcdr_model: Option<&VcdrModel>,
    device: &Device,
    stop: impl Fn() -> bool,
) -> Result<Option<Validation>, TrainingError> {
    let scale = config.input.contract().scale;
    let decoding = config.decoding();
    let (mut sums, mut counts) = ([0.0; 4], [0usize; 4]);
    let mut groups: BTreeMap<&str, Vec<Scored>> = BTreeMap::new();
    for chunk in held.chunks(config.batch) {
        if stop() {
            return Ok(None);
        }
        let examples: Vec<Example> = chunk.iter().map(|held| held.example.clone()).collect();
        let batch = Batch::from_examples(&examples, scale, device)?;
        let outputs = net.forward(&batch.images, &net.config().tasks, Mode::Evaluate)?;
        for task in Task::ALL {
            let (Some(logits), Some(target)) = (outputs.logits(task), batch.target(task)) else {
                continue;
            };
            let loss =
                masked_loss(task, config.fovea_loss, logits, &target.values, &target.weights)
                    .map_err(EvaluationError::from)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            sums[task.index()] += value * target.labelled as f64;
            counts[task.index()] += target.labelled;
        }
        for (held, output) in chunk.iter().zip(outputs_of(&batch.images, &outputs)?) {
            let scored = score(&held.example, held.native_width, &output, &decoding, vcdr_model);
            groups.entry(&held.group).or_default().push(scored);
        }
    }
    let mean = |i: usize| (counts[i] > 0).then(|| sums[i] / counts[i] as f64);
    let losses = [mean(0), mean(1), mean(2), mean(3)];
    let reports: Vec<DatasetReport> =
        groups.iter().map(|(name, scored)| DatasetReport::of(name, scored, 0)).collect();
    Ok(Some(Validation {
        losses,
        total: losses.iter().flatten().sum(),
        metrics: serde_json::to_value(&reports).unwrap_or_default(),
        lines: reports.iter().map(DatasetReport::line).collect(),
    }))
}
